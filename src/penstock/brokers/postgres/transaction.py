"""What one operation sees of its transaction: statements, counters, wake-ups.

All of it is pipelined: a statement goes out with the next one whose answer is asked for, or with
COMMIT. An operation never commits: `database.py` does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, Protocol

from psycopg.rows import tuple_row

from penstock.core.lifecycle import State

from .connection import Connection, adapt

Row = tuple[Any, ...]
"""One row of an answer. Any: the statement's columns say what they are."""

Parameters = Mapping[str, Any]
"""Values of a statement's `%(name)s`."""

ReadySet = tuple[int, str]
"""(queue tag, need)."""


class Sent(Protocol):
    """A statement that is on its way."""

    def fetchall(self) -> list[Row]:
        """Return its rows, once it is through."""
        ...


class Speaker(Protocol):
    """As much of a connection of psycopg as statements need."""

    def cursor(self, *, binary: bool, row_factory: Any) -> Any:
        """Return a cursor."""
        ...


_COUNT: Final = """
INSERT INTO penstock.count_change (queue, state, jobs)
SELECT * FROM unnest(%(queues)s::integer[], %(states)s::text[], %(jobs)s::bigint[])
"""
_NOW: Final = "SELECT penstock.wall_ms()"


class Transaction:
    """One operation inside a transaction.

    Attributes:
        fresh: (queue tag, need) -> jobs that became claimable here; sleepers are woken for them.
        commit: synchronous_commit of the transaction; None: its owner's affair.
    """

    def __init__(
        self,
        connection: Speaker,
        schema: bytes,
        commit: str | None = None,
        sync: Callable[[], object] | None = None,
    ) -> None:
        """Begin with nothing changed.

        Args:
            connection: inside a transaction; our own are in pipeline mode.
            schema: what stands in the place of `penstock` in statements, quoted.
            commit: see above.
            sync: takes in what was sent, of a pipeline whose transaction was opened by BEGIN. The
                server waits for the client for so long as it says (`connection.py`) only after a
                sync: one that stands still behind a mere flush keeps its locks.
        """
        self.commit = commit
        self._sync = sync
        self._connection = connection
        self._is_foreign = not isinstance(connection, Connection)
        self._schema = schema
        self._counts: defaultdict[tuple[int, State], int] = defaultdict(int)
        self.fresh: defaultdict[ReadySet, int] = defaultdict(int)

    @cached_property
    def now(self) -> int:
        """Wall time, milliseconds; one instant for all who ask here. Cost: a round trip."""
        return int(self.rows(_NOW)[0][0])

    def send(self, sql: str, values: Parameters | None = None) -> Sent:
        """Send one statement, and return where its rows will be once it is through."""
        cursor = self._connection.cursor(binary=True, row_factory=tuple_row)
        if self._is_foreign:
            adapt(cursor.adapters)
        sent: Sent = cursor.execute(qualified(sql, self._schema), values)
        return sent

    def rows(self, sql: str, values: Parameters | None = None) -> list[Row]:
        """Run one statement and return all its rows."""
        sent = self.send(sql, values)
        if self._sync is not None:
            self._sync()
        return sent.fetchall()

    def row(self, sql: str, values: Parameters | None = None) -> Row | None:
        """Run one statement that gives at most one row, and return it."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def each(self, sql: str, values: Iterable[Parameters]) -> None:
        """Send one statement per item."""
        for item in values:
            self.send(sql, item)

    def moved(self, queue: int, before: State | None, after: State | None) -> None:
        """Count one job of `queue` out of one state and into another. None: no record."""
        if before is not None:
            self._counts[queue, before] -= 1
        if after is not None:
            self._counts[queue, after] += 1

    def flush_counts(self) -> None:
        """Send the changes of the counters so far. Called at the end of each operation."""
        changes = [(*of, jobs) for of, jobs in self._counts.items() if jobs]
        if changes:
            queues, states, jobs = zip(*changes, strict=True)
            self.send(_COUNT, {"queues": list(queues), "states": list(states), "jobs": list(jobs)})
        self._counts.clear()


def qualified(sql: str, schema: bytes) -> bytes:
    """Return a statement with `schema` in the place of `penstock`."""
    return sql.encode().replace(b"penstock.", schema + b".")
