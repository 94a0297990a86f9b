"""A pipeline that sends what belongs together in one piece.

psycopg's own pipeline sends each statement as soon as it is made. The server carries it out, takes
its locks, and waits for the next one; it counts how long it waits (`connection.py`) only after a
Sync. A process that is stopped between the two would keep its locks for as long as it stands still,
and on a busy machine a process is stopped, or preempted, right after it has sent something. So
nothing is sent before its Sync is made; it spares system calls too.

It overrides what psycopg keeps for itself: `tests/integration/test_postgres_flights.py` tells when
that changes.
"""

from __future__ import annotations

import psycopg
from psycopg.abc import PQGen


class FlightPipeline(psycopg.Pipeline):
    """Sends at a sync, at the end of the block, and when an answer is asked for."""

    _is_due = False

    def _enqueue_sync(self) -> None:
        super()._enqueue_sync()
        self._is_due = True

    def _communicate_gen(self) -> PQGen[None]:
        if not self._is_due:
            return
        self._is_due = False
        # Fence: into the library's buffer first, whose first flush then carries the Sync as well.
        # Bound: beyond 64 KiB the library flushes by itself, in front of the Sync.
        while self.command_queue:
            self.command_queue.popleft()()
        yield from super()._communicate_gen()

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        if flush and self.command_queue:
            self._is_due = True
            yield from self._communicate_gen()
        yield from super()._fetch_gen(flush=flush)
