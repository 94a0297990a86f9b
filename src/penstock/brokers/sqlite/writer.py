"""Group commit: one writer at a time per process, and whoever has the lock commits for all.

A caller puts its operation in line and takes the lock. Alone, it runs its operation and commits.
Where others wait behind it, the next one to get the lock runs every operation in line in one
transaction, each behind its own savepoint, and the others find their answers when the lock comes
to them. There is no writer thread and no hand-off, so a lone caller pays for one lock only; under
load one COMMIT, and one fsync where asked for, serves all who waited for the last one.

Durability is chosen per transaction by `PRAGMA synchronous`: FULL where an operation in it asked
for fsync, else NORMAL. A later fsync of the log covers all transactions before it, since the log is
one file and power loss takes a tail of it; so nothing that was promised can be lost through a
neighbour that promised less (ADR-0010).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from penstock.core.clock import Clock

from . import faults
from .transaction import Transaction

Answer = TypeVar("Answer")

#: Operations in one transaction: bounds how long the first of them waits for the last.
_GROUP_MAX: Final = 64


class _Call:
    """An operation in line, and what became of it."""

    __slots__ = ("answer", "done", "error", "fsync", "transaction", "work")

    def __init__(self, work: Callable[[Transaction], Any], *, fsync: bool) -> None:
        self.work = work
        self.fsync = fsync
        self.done = False
        self.answer: Any = None
        self.error: Exception | None = None
        self.transaction: Transaction | None = None


class Writer:
    """The only place that writes. Safe to call from many threads of one process."""

    def __init__(self, connect: Callable[[], apsw.Connection], path: str, clock: Clock) -> None:
        """Connect at the first write.

        Args:
            connect: opens a connection; called again after an error that makes one doubtful.
            path: for messages.
            clock: given to the operations.
        """
        self._connect = connect
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._line: deque[_Call] = deque()
        self._cursor: apsw.Cursor | None = None
        self._is_full: bool | None = None

    def run(
        self, work: Callable[[Transaction], Answer], *, fsync: bool
    ) -> tuple[Answer, Transaction]:
        """Run `work` in a write transaction and commit it.

        Args:
            work: may run twice, so it may change nothing but the transaction.
            fsync: return only when power loss cannot undo it.

        Returns:
            What `work` returned, and its transaction for what is left to do after COMMIT.

        Raises:
            Unavailable: nothing was written.
            OutcomeUnknown: COMMIT failed, and nobody knows whether it counts.
            Exception: whatever `work` raised; nothing of it was written.
        """
        call = _Call(work, fsync=fsync)
        self._line.append(call)
        try:
            with self._lock:
                while not call.done:
                    self._commit_line()
        except BaseException:
            # Only an interrupt comes here: nobody is to run what its caller has given up.
            call.done = True
            raise
        if call.error is not None:
            raise call.error
        assert call.transaction is not None  # noqa: S101 - narrows the type; done without error
        return call.answer, call.transaction

    def open(self) -> None:
        """Connect now, and write nothing: what is wrong with the file is told here.

        Raises:
            Unavailable: the file cannot be opened.
            Exception: whatever refused the file.
        """
        with self._lock:
            if self._cursor is None:
                try:
                    self._cursor = self._connect().cursor()
                except apsw.Error as error:
                    raise faults.before_commit(error, self._path) from error
                self._is_full = None

    def pause(self) -> None:
        """Wait for the transaction in progress, close the connection, and let none start."""
        self._lock.acquire()
        self._disconnect()

    def resume(self) -> None:
        """Let transactions start again."""
        self._lock.release()

    def forget_line(self) -> None:
        """Forget the calls in line: in a forked child they are the parent's threads'."""
        self._line.clear()

    def _commit_line(self) -> None:
        """Commit what is in line, in order, as much as one transaction takes.

        A call leaves the line only when it is done: where this thread is interrupted, the others
        find theirs in it and run them.
        """
        first = [self._line[place] for place in range(min(len(self._line), _GROUP_MAX))]
        waiting = [call for call in first if not call.done]
        if waiting:
            self._commit_together(waiting)
        while self._line and self._line[0].done:
            self._line.popleft()

    def _commit_together(self, calls: list[_Call]) -> None:
        cursor: apsw.Cursor | None = None
        try:
            cursor = self._begin(fsync=any(call.fsync for call in calls))
            for call in calls:
                self._apply(call, cursor, is_alone=len(calls) == 1)
        except apsw.Error as error:
            self._disconnect()
            if cursor is None or len(calls) == 1:
                _fail(calls, error, faults.before_commit, self._path)
                return
            # Nothing was written: each gets its own transaction, so that one cannot fail others.
            for call in calls:
                self._commit_together([call])
            return
        except Exception as error:  # noqa: BLE001 - the file was refused; its callers are told
            self._disconnect()
            for call in calls:
                call.error, call.done = error, True
            return
        except BaseException:
            self._disconnect()
            raise
        self._commit(cursor, calls)

    def _begin(self, *, fsync: bool) -> apsw.Cursor:
        if self._cursor is None:
            self._cursor = self._connect().cursor()
            self._is_full = None
        cursor = self._cursor
        if self._is_full is not fsync:
            cursor.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
            self._is_full = fsync
        cursor.execute("BEGIN IMMEDIATE")
        return cursor

    def _apply(self, call: _Call, cursor: apsw.Cursor, *, is_alone: bool) -> None:
        """Run one operation. A refusal by its own rules undoes it alone."""
        if not is_alone:
            cursor.execute("SAVEPOINT one")
        try:
            transaction = Transaction(cursor, self._clock)
            call.answer = call.work(transaction)
            transaction.flush_counts()
            call.transaction, call.error = transaction, None
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed to its caller, whatever it is
            cursor.execute("ROLLBACK" if is_alone else "ROLLBACK TO one")
            call.error = error
        if not is_alone:
            cursor.execute("RELEASE one")

    def _commit(self, cursor: apsw.Cursor, calls: list[_Call]) -> None:
        connection = cursor.connection
        try:
            if connection.in_transaction:
                cursor.execute("COMMIT")
            for call in calls:
                call.done = True
        except apsw.Error as error:
            told = partial(faults.in_commit, system_errno=connection.system_errno)
            self._disconnect()
            _fail(calls, error, told, self._path)
        except BaseException:
            # Race: the interrupt may have come when COMMIT was through; then the answers hold.
            for call in calls:
                call.done = not connection.in_transaction
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        """Close the connection, which rolls back; the last one on the file empties the log."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(apsw.Error):
                cursor.connection.close(force=True)


def _fail(
    calls: list[_Call],
    error: apsw.Error,
    as_port_error: Callable[[apsw.Error, str], Exception],
    path: str,
) -> None:
    for call in calls:
        call.error = as_port_error(error, path)
        call.error.__cause__ = error
        call.done = True
