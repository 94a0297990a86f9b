"""One database as one process uses it: transactions, their retries, and what their errors mean."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, TypeVar

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
#: Class of durability -> synchronous_commit of its transaction; None: as it is.
_COMMIT: Final = {
    None: None,
    Durability.LOCAL: "off",
    Durability.FSYNC: "on",
    Durability.REPLICATED: "on",
}
_SET_COMMIT: Final = b"SELECT set_config('synchronous_commit', %s, TRUE)"

Work = Callable[[Transaction], Callable[[], Answer]]
"""Sends its statements, and returns what reads their rows, before COMMIT or after it."""


class Flight(NamedTuple):
    """How one operation goes to the server.

    Attributes:
        durability: what its commit survives; None: it only reads, all at one instant.
        is_whole: it waits for no answer before it is committed: then nothing need open and close
            its transaction, which is all up to the end of the flight.
        sets_commit: its first statement sets synchronous_commit by itself.
        follow: sends what shall happen once it is committed, in a transaction of its own and in the
            same flight. What fails there fails silently.
    """

    durability: Durability | None
    is_whole: bool = False
    sets_commit: bool = False
    follow: Callable[[Transaction], None] | None = None


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
        return self.send(_fetched(work), Flight(durability), timeout_s=timeout_s)

    def read(
        self, work: Callable[[Transaction], Answer], *, timeout_s: float | None = None
    ) -> Answer:
        """Run reads that all see the database as it was at one instant.

        Raises:
            Unavailable: it cannot be read.
        """
        return self.send(_fetched(work), Flight(None), timeout_s=timeout_s)

    def send(self, work: Work[Answer], flight: Flight, *, timeout_s: float | None = None) -> Answer:
        """Run and commit one operation.

        Args:
            work: run again from the start where another transaction was in its way.
            flight: how it goes.
            timeout_s: silence of the server that ends the call; None: the broker's.

        Raises:
            Unavailable, OutcomeUnknown: as `write`.
        """
        patience_s = self._answer_timeout_s if timeout_s is None else timeout_s
        started = time.monotonic()
        was_lost = False
        for tries in range(1, _TRIES_MAX + 1):
            one = _Attempt(self._take(is_fresh=was_lost), self.schema)
            try:
                return one.run(work, flight, patience_s)
            except psycopg.Error as error:
                told = faults.in_call(
                    error,
                    self.address.location,
                    is_lost=one.is_lost,
                    is_sent=one.is_commit_sent and flight.durability is not None,
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

    def close(self) -> None:
        """Let go of the connections."""
        self.pool.close()

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
        self._is_given_up = False
        self._read_followed: Callable[[], Any] | None = None

    def run(self, work: Work[Answer], flight: Flight, patience_s: float) -> Answer:
        connection = self.connection
        connection.patience_s = patience_s
        try:
            with self._pipeline(flight) as pipeline:
                self._begin(flight)
                sync = None if flight.is_whole else pipeline.sync
                tx = Transaction(connection, self._schema, _COMMIT[flight.durability], sync)
                read_answer = work(tx)
                tx.flush_counts()
                self.is_commit_sent = True
                if not flight.is_whole:
                    connection.execute(b"COMMIT")
                if flight.follow is not None:
                    pipeline.sync()
                    self._read_followed = read_answer
                    flight.follow(Transaction(connection, self._schema))
            return read_answer()
        except psycopg.Error as error:
            # psycopg may believe that statements are prepared which the server skipped after the
            # error, and would name them in vain.
            self._give_up(error)
            if self._read_followed is not None and not self.is_lost:
                # What can be read was through before that which followed it failed.
                with suppress(psycopg.Error):
                    answer: Answer = self._read_followed()
                    return answer
            raise
        except Exception:
            # What it wrote so far is undone; a connection that cannot do so is broken anyway.
            with suppress(psycopg.Error):
                connection.execute(b"ROLLBACK")
            raise
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def _pipeline(self, flight: Flight) -> Iterator[psycopg.Pipeline]:
        """Send what is run in the block; where it fails, its end commits nothing."""
        failure: BaseException | None = None
        try:
            with self.connection.pipeline() as pipeline:
                try:
                    yield pipeline
                except BaseException as error:  # noqa: BLE001 - raised again below
                    # psycopg would log what else fails at the end of the pipeline.
                    failure = error
                    if flight.is_whole:
                        self._give_up(error)
        except psycopg.Error:
            if failure is None:
                raise
        if failure is not None:
            raise failure

    def _give_up(self, error: BaseException) -> None:
        """Close the connection, and note whether it was lost before."""
        if not self._is_given_up:
            # Race: a session that ends between two calls breaks psycopg's pipeline first.
            is_broken = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
            self.is_lost = is_broken or bool(self.connection.closed)
        self._is_given_up = True
        self.connection.close()

    def _begin(self, flight: Flight) -> None:
        connection = self.connection
        if flight.durability is None:
            connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return
        if not flight.is_whole:
            connection.execute(b"BEGIN")
        if not flight.sets_commit:
            connection.execute(_SET_COMMIT, (_COMMIT[flight.durability],))


def _fetched(work: Callable[[Transaction], Answer]) -> Work[Answer]:
    def send(tx: Transaction) -> Callable[[], Answer]:
        answer = work(tx)
        return lambda: answer

    return send


def _is_worth_another_try(error: psycopg.Error, one: _Attempt, left_s: float, tries: int) -> bool:
    """Return whether the same again may go well: others were in the way, or a restart."""
    if faults.is_worth_another_try(error):
        return left_s > 0
    # A server that was silent for the whole time is not asked a second time.
    return one.is_lost and not one.is_commit_sent and tries == 1 and left_s > 0
