"""One database as one process uses it: transactions, their retries, and what their errors mean."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import psycopg

from penstock.broker.requests import Durability

from . import faults
from .address import Address
from .connection import Connection
from .pool import Pool
from .transaction import Transaction

Answer = TypeVar("Answer")

#: Tries of a transaction that others are in the way of; the third is already rare. Time ends it
#: first where a lock is kept for long.
_TRIES_MAX: Final = 50
#: Seconds before the next try at most, times the tries so far up to five; chance keeps two from
#: meeting again.
_PAUSE_S: Final = 0.02
#: Class of durability -> the setting of its transaction; None: what the session has.
_COMMIT: Final = {
    Durability.LOCAL: b"SET LOCAL synchronous_commit = off",
    Durability.FSYNC: b"SET LOCAL synchronous_commit = on",
    Durability.REPLICATED: b"SET LOCAL synchronous_commit = on",
}


class Database:
    """The server, and how to run something in it. Safe to call from many threads.

    Attributes:
        address: where it is.
        schema: of the tables, quoted.
    """

    def __init__(self, address: Address, answer_timeout_s: float) -> None:
        """Connect at the first call.

        Args:
            address: where it is.
            answer_timeout_s: give a call up when the server was silent for so long.
        """
        self.address = address
        self.schema = f'"{address.schema}"'.encode()
        self._answer_timeout_s = answer_timeout_s
        self.pool = Pool(self._connect, address.location)

    def write(
        self,
        work: Callable[[Transaction], Answer],
        *,
        durability: Durability = Durability.LOCAL,
        timeout_s: float | None = None,
    ) -> Answer:
        """Run and commit one operation.

        Args:
            work: run again from the start where another transaction was in its way.
            durability: what the commit survives.
            timeout_s: silence of the server that ends the call; None: the broker's.

        Raises:
            Unavailable: definite, nothing was written.
            OutcomeUnknown: the connection was lost while COMMIT was under way.
        """

        def fetched(tx: Transaction) -> Callable[[], Answer]:
            answer = work(tx)
            return lambda: answer

        return self.send(fetched, durability=durability, timeout_s=timeout_s)

    def send(
        self,
        work: Callable[[Transaction], Callable[[], Answer]],
        *,
        durability: Durability = Durability.LOCAL,
        timeout_s: float | None = None,
    ) -> Answer:
        """Run and commit one operation that reads its answer after COMMIT, in one round trip.

        Args:
            work: sends its statements, and returns what reads their rows.
            durability: what the commit survives.
            timeout_s: silence of the server that ends the call; None: the broker's.

        Raises:
            Unavailable, OutcomeUnknown: as `write`.
        """
        begin = [b"BEGIN", _COMMIT[durability]]
        return self._run(begin, work, timeout_s)

    def read(
        self, work: Callable[[Transaction], Answer], *, timeout_s: float | None = None
    ) -> Answer:
        """Run reads that all see the database as it was at one instant.

        Raises:
            Unavailable: it cannot be read.
        """

        def fetched(tx: Transaction) -> Callable[[], Answer]:
            answer = work(tx)
            return lambda: answer

        begin = [b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]
        return self._run(begin, fetched, timeout_s, is_read=True)

    def close(self) -> None:
        """Let go of the connections."""
        self.pool.close()

    def _run(
        self,
        begin: list[bytes],
        work: Callable[[Transaction], Callable[[], Answer]],
        timeout_s: float | None,
        *,
        is_read: bool = False,
    ) -> Answer:
        patience_s = self._answer_timeout_s if timeout_s is None else timeout_s
        started = time.monotonic()
        was_lost = False
        for tries in range(1, _TRIES_MAX + 1):
            one = _Attempt(self._take(is_fresh=was_lost), self.schema)
            try:
                return one.run(begin, work, patience_s)
            except psycopg.Error as error:
                told = faults.in_call(
                    error,
                    self.address.location,
                    is_lost=one.is_lost,
                    is_sent=one.is_commit_sent and not is_read,
                )
                if told is None:
                    raise
                left_s = patience_s - (time.monotonic() - started)
                if tries == _TRIES_MAX or not _is_worth_another_try(error, one, left_s, tries):
                    raise told from error
            finally:
                self.pool.give_back(one.connection)
            was_lost = one.is_lost
            time.sleep(random.uniform(0, min(tries, 5) * _PAUSE_S))
        raise AssertionError("the last try returns or raises")

    def _take(self, *, is_fresh: bool) -> Connection:
        try:
            return self.pool.take(is_fresh=is_fresh)
        except psycopg.Error as error:
            raise faults.in_connect(error, self.address.location) from error

    def _connect(self) -> Connection:
        return Connection.open(self.address.conninfo)


class _Attempt:
    """One run of an operation on one connection.

    Attributes:
        connection: the connection.
        is_commit_sent: COMMIT may have reached the server.
        is_lost: the connection broke, or was given up.
    """

    def __init__(self, connection: Connection, schema: bytes) -> None:
        self.connection = connection
        self._schema = schema
        self.is_commit_sent = False
        self.is_lost = False

    def run(
        self,
        begin: list[bytes],
        work: Callable[[Transaction], Callable[[], Answer]],
        patience_s: float,
    ) -> Answer:
        connection = self.connection
        connection.patience_s = patience_s
        try:
            with connection.pipeline():
                for statement in begin:
                    connection.execute(statement)
                tx = Transaction(connection, self._schema)
                read_answer = work(tx)
                tx.flush_counts()
                self.is_commit_sent = True
                connection.execute(b"COMMIT")
            return read_answer()
        except psycopg.Error:
            self.is_lost = bool(connection.closed)
            # psycopg may believe that statements are prepared which the server skipped after the
            # error, and would name them in vain.
            connection.close()
            raise
        except Exception:
            # What it wrote so far is undone; a connection that cannot do so is broken anyway.
            with suppress(psycopg.Error):
                connection.execute(b"ROLLBACK")
            raise
        except BaseException:
            connection.close()
            raise


def _is_worth_another_try(error: psycopg.Error, one: _Attempt, left_s: float, tries: int) -> bool:
    """Return whether the same again may go well: others were in the way, or a restart."""
    if faults.is_worth_another_try(error):
        return left_s > 0
    # A server that was silent for the whole time is not asked a second time.
    return one.is_lost and not one.is_commit_sent and tries == 1 and left_s > 0
