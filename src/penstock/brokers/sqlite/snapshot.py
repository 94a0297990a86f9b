"""Reads: each sees one state of the file, on its own connection, and never waits for a writer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import apsw

from . import faults
from .transaction import Row

Answer = TypeVar("Answer")

#: Connections kept open between reads. A burst of threads may open more; each has descriptors and a
#: cache of pages of its own, and opening one anew took 0.24 ms when measured.
_IDLE_MAX: Final = 8


class Snapshot:
    """The file as it was at one instant."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: apsw.Cursor) -> None:
        """Read through `cursor`, which is inside a transaction."""
        self._cursor = cursor

    def rows(self, sql: str, bindings: apsw.Bindings = ()) -> list[Row]:
        """Run one statement and return all its rows."""
        return self._cursor.execute(sql, bindings).fetchall()

    def row(self, sql: str, bindings: apsw.Bindings = ()) -> Row | None:
        """Run one statement that gives at most one row, and return it."""
        found = self._cursor.execute(sql, bindings).fetchall()
        return found[0] if found else None


class Reader:
    """Read connections, as many as threads read at a time. Safe to call from many threads.

    Bound: of those that nobody reads from, `_IDLE_MAX` stay open.
    """

    def __init__(self, connect: Callable[[], apsw.Connection], path: str) -> None:
        """Connect at the first read."""
        self._connect = connect
        self._path = path
        self._turn = threading.Condition(threading.Lock())
        self._idle: list[apsw.Cursor] = []
        #: Threads that read. Not a number: an interrupt between a step up and its way down would
        #: leave it one too high, and `pause` would wait for ever.
        self._reading: set[int] = set()

    def run(self, read: Callable[[Snapshot], Answer]) -> Answer:
        """Run `read` on one state of the file.

        Raises:
            Unavailable: the file cannot be read.
        """
        thread = threading.get_ident()
        cursor: apsw.Cursor | None = None
        try:
            with self._turn:
                self._reading.add(thread)
                cursor = self._idle.pop() if self._idle else None
            cursor = self._connect().cursor() if cursor is None else cursor
            cursor.execute("BEGIN")
            answer = read(Snapshot(cursor))
            cursor.execute("COMMIT")
        except BaseException as error:
            # Race: closed before the turn is given back, or a fork could come in between.
            if cursor is not None:
                cursor.connection.close(force=True)
            self._give_back(None)
            if isinstance(error, apsw.Error):
                raise faults.before_commit(error, self._path) from error
            raise
        self._give_back(cursor)
        return answer

    def run_apart(self, work: Callable[[], None]) -> None:
        """Run what opens a connection of its own; it counts as a read in progress.

        Fork: so that no fork happens while that connection is open.
        """
        thread = threading.get_ident()
        try:
            with self._turn:
                self._reading.add(thread)
            work()
        finally:
            self._give_back(None)

    def pause(self) -> None:
        """Wait for the reads in progress, close all connections, and let no read start."""
        self._turn.acquire()
        try:
            # Whatever this thread read is over, whether it was given back or interrupted.
            own = {threading.get_ident()}
            self._turn.wait_for(lambda: self._reading <= own)
            self._reading.clear()
            while self._idle:
                self._idle.pop().connection.close(force=True)
        except BaseException:
            self._turn.release()
            raise

    def resume(self) -> None:
        """Let reads start again."""
        self._turn.release()

    def _give_back(self, cursor: apsw.Cursor | None) -> None:
        with self._turn:
            self._reading.discard(threading.get_ident())
            if cursor is not None and len(self._idle) < _IDLE_MAX:
                self._idle.append(cursor)
            elif cursor is not None:
                # Race: closed before the turn is given up, or a fork could come in between.
                cursor.connection.close(force=True)
            self._turn.notify_all()
