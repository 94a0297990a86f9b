"""The caller's own connection, sync or async: what it must be, and how statements get there."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import RowFactory

from penstock.errors import BadSetting, WrongContext

from .database import Database
from .transaction import Parameters, Row, Transaction

Answer = TypeVar("Answer")

_HOLD: Final = "SELECT pg_advisory_xact_lock(%(name)s)"
_IS_FREE: Final = "SELECT pg_try_advisory_xact_lock_shared(%(name)s)"


class _TheirsFailed(Exception):
    """A statement on the caller's connection failed, as `error` says."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.error = error


class LentConnection:
    """A connection of an event loop as code in a thread uses it, while the loop waits for it.

    Each statement runs in the loop, under the connection's own lock; the thread waits for its rows.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Lend the connection of the running loop."""
        self.connection = connection
        self.info = connection.info
        self._loop = asyncio.get_running_loop()
        self._is_taken_back = False

    def cursor(self, *, binary: bool, row_factory: RowFactory[Row]) -> LentCursor:
        """Return a cursor for one statement."""
        # Its factory makes plain rows, sync or async.
        made: Any = self.connection.cursor(binary=binary, row_factory=row_factory)  # type: ignore[call-overload]
        return LentCursor(made, self._run)

    async def lend(self, work: Callable[[], Answer]) -> Answer:
        """Run `work` in a thread, and return once it uses the connection no more."""
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # Race: the caller is about to roll back; no statement may come after that.
            self._is_taken_back = True
            await asyncio.wait([running])
            raise

    def _run(self, statement: Callable[[], Any]) -> Any:
        if self._is_taken_back:
            raise WrongContext("the caller of aenqueue was cancelled: its connection is its own")
        return asyncio.run_coroutine_threadsafe(statement(), self._loop).result()


class LentCursor:
    """One statement on a lent connection, and its rows."""

    def __init__(
        self,
        cursor: psycopg.AsyncCursor[Row],
        run: Callable[[Callable[[], Any]], Any],
    ) -> None:
        """Use `cursor`, in its loop."""
        self._cursor = cursor
        self._run = run
        self._rows: list[Row] = []
        self.adapters = cursor.adapters

    def execute(self, sql: bytes, values: Parameters | None) -> LentCursor:
        """Run the statement."""

        async def run() -> list[Row]:
            await self._cursor.execute(sql, values)
            return [] if self._cursor.description is None else await self._cursor.fetchall()

        self._rows = self._run(run)
        return self

    def fetchall(self) -> list[Row]:
        """Return its rows."""
        return self._rows


Joinable = psycopg.Connection[Any] | LentConnection


class Joiner:
    """Says whether jobs can be put into the transaction of a connection.

    Args:
        database: where the jobs are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # A connection stays on the database that it was opened on.
        self._proved: weakref.WeakSet[Any] = weakref.WeakSet()

    def join(self, connection: Joinable) -> Transaction:
        """Return the open transaction of a connection, for statements of ours.

        Raises:
            BadSetting: it is on another database.
            WrongContext: it is closed, or has no open transaction that could be committed.
            psycopg.Error: as the server says.
        """
        theirs = connection.connection if isinstance(connection, LentConnection) else connection
        _check_open(theirs)
        tx = Transaction(connection, self._database.schema)
        if theirs not in self._proved:
            self._prove(tx, theirs)
            self._proved.add(theirs)
        return tx

    def _prove(self, tx: Transaction, theirs: psycopg.BaseConnection[Any]) -> None:
        """Hold a lock of the database where the jobs are, and look whether it is held there, too.

        Names of hosts and databases prove nothing: a server has many, and a copy has the same.
        """
        name = {"name": secrets.randbits(63)}

        def is_elsewhere(ours: Transaction) -> bool:
            ours.rows(_HOLD, name)
            try:
                [(is_free,)] = tx.rows(_IS_FREE, name)
            except psycopg.Error as error:
                # It says nothing about our own connection, which is not to be taken for broken.
                raise _TheirsFailed(error) from error
            return bool(is_free)

        try:
            found_elsewhere = self._database.write(is_elsewhere)
        except _TheirsFailed as failed:
            raise failed.error from None
        if found_elsewhere:
            where = f"{theirs.info.host}:{theirs.info.port}/{theirs.info.dbname}"
            raise BadSetting(
                f"connection is on the database {where}, and the jobs are in "
                f"{self._database.address.location}: one transaction has one database, so open the "
                "connection there, or let the app's URL name the connection's database"
            )


def check_sync(connection: object) -> psycopg.Connection[Any]:
    """Return a connection for plain code.

    Raises:
        BadSetting: it is none.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        raise BadSetting("connection is an AsyncConnection: call aenqueue, or aenqueue_many")
    if not isinstance(connection, psycopg.Connection):
        raise _not_psycopg(connection, "Connection")
    return connection


def check_async(connection: object) -> psycopg.AsyncConnection[Any]:
    """Return a connection for coroutines.

    Raises:
        BadSetting: it is none.
    """
    if isinstance(connection, psycopg.Connection):
        raise BadSetting(
            "connection is a Connection, which would block the event loop: call enqueue, or "
            "enqueue_many, or give an AsyncConnection"
        )
    if not isinstance(connection, psycopg.AsyncConnection):
        raise _not_psycopg(connection, "AsyncConnection")
    return connection


def _not_psycopg(connection: object, kind: str) -> BadSetting:
    return BadSetting(
        f"connection is a {type(connection).__module__}.{type(connection).__qualname__}: give a "
        f"psycopg.{kind}; libraries that wrap one have a way to it"
    )


def _check_open(connection: psycopg.BaseConnection[Any]) -> None:
    if connection.closed:
        raise WrongContext("connection is closed: no job was written; enqueue before you close it")
    status = connection.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise WrongContext(
            "the transaction of this connection has failed and can only be rolled back: no job was "
            "written; roll back, and enqueue in the next one"
        )
    if connection.autocommit and status == TransactionStatus.IDLE:
        raise WrongContext(
            "connection commits each statement by itself and has no transaction open: no job was "
            "written; open one with `with connection.transaction():`, or leave connection out"
        )
