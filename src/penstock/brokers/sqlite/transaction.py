"""What one operation sees of its write transaction: statements, one instant, counters, wake-ups.

An operation never commits: the writer does, for all operations that wait (`writer.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import apsw

from penstock.core.clock import Clock
from penstock.core.lifecycle import State

Row = tuple[Any, ...]
"""One row of an answer. Any: SQLite decides by value; the statement's columns say what they are."""

ReadySet = tuple[int, str]
"""(queue tag, need)."""

#: A queue's counters are all written by `register`, so that a change is a plain update.
_CHANGE: Final = "UPDATE counter SET jobs = jobs + ?3 WHERE queue = ?1 AND state = ?2"


class Transaction:
    """One operation inside a write transaction.

    Attributes:
        now: wall time, milliseconds; one instant for all that the operation writes.
        clock: for boot time.
        fresh: (queue tag, need) -> jobs that became claimable here; sleepers are woken for them.
        wakes: (token, ready set it was left at) of sleepers to wake after COMMIT.
        nudges: tokens of workers to be told of a cancel after COMMIT.
    """

    __slots__ = ("_counts", "_cursor", "clock", "fresh", "now", "nudges", "wakes")

    def __init__(self, cursor: apsw.Cursor, clock: Clock) -> None:
        """Begin with nothing changed."""
        self._cursor = cursor
        self._counts: defaultdict[tuple[int, State], int] = defaultdict(int)
        self.clock = clock
        self.now = clock.wall_ms()
        self.fresh: defaultdict[ReadySet, int] = defaultdict(int)
        self.wakes: list[tuple[str, ReadySet]] = []
        self.nudges: list[str] = []

    def rows(self, sql: str, bindings: apsw.Bindings = ()) -> list[Row]:
        """Run one statement and return all its rows."""
        return self._cursor.execute(sql, bindings).fetchall()

    def row(self, sql: str, bindings: apsw.Bindings = ()) -> Row | None:
        """Run one statement that gives at most one row, and return it."""
        found = self._cursor.execute(sql, bindings).fetchall()
        return found[0] if found else None

    def each(self, sql: str, bindings: Iterable[apsw.Bindings]) -> list[Row]:
        """Run one statement per item and return the rows of all, in order."""
        return self._cursor.executemany(sql, bindings).fetchall()

    def change(self, sql: str, bindings: Iterable[apsw.Bindings]) -> int:
        """Run one statement per item and return how many rows were written by all."""
        connection = self._cursor.connection
        before = connection.total_changes()
        self._cursor.executemany(sql, bindings).fetchall()
        return connection.total_changes() - before

    def moved(self, queue: int, before: State | None, after: State | None, jobs: int = 1) -> None:
        """Count `jobs` of `queue` out of one state and into another. None: no record."""
        if before is not None:
            self._counts[queue, before] -= jobs
        if after is not None:
            self._counts[queue, after] += jobs

    def flush_counts(self) -> None:
        """Write the counters. Called once, at the end of the operation."""
        for (queue, state), jobs in self._counts.items():
            if jobs:
                self._cursor.execute(_CHANGE, (queue, state, jobs))
