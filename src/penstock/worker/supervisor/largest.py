"""The largest workers alive, as far as their leases tell: what is learned is cut to them."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import LeaseFacts
from penstock.core.capacity import Capacity, largest_bytes
from penstock.core.demand import Demand


class Largest:
    """What the largest worker has that could run a job: one of its queue, with all that it takes.

    A larger worker of another queue is of no use to it: a job that only that one could hold would
    wait for ever.
    """

    def __init__(self, own: Capacity) -> None:
        """Know of this worker alone."""
        self._own = own
        self._told: list[tuple[tuple[str, ...], Capacity]] = []

    def look(self, leases: Sequence[LeaseFacts]) -> None:
        """Take in what all workers can take."""
        self._told = [(one.queues, one.capacity) for one in leases if one.capacity is not None]

    def memory_bytes(self, queue: str, demand: Demand) -> int:
        """Return the largest budget of a worker that serves a queue and has what a job takes."""
        return largest_bytes(self._of(queue), demand) or 0

    def gpu_bytes(self, queue: str) -> int:
        """Return the memory of the largest GPU of a worker that serves a queue; 0: none known."""
        return max((size for one in self._of(queue) for size in one.gpu_memory_bytes), default=0)

    def _of(self, queue: str) -> list[Capacity]:
        return [self._own, *(one for queues, one in self._told if queue in queues)]
