"""Which waiting jobs find room, where, and when: a model of what the claims of workers bring. Pure.

Each worker takes, best rank first, what fits into what it has free, one worker after the other in
the order given; of a class of sizes it must have room for the largest (`core/admission.py`). Real
workers race, so of several that could take a job any may.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import CPUS, NO_DEMAND, Demand

#: Name of the amount of whole devices.
GPUS: Final = "gpus"

Rank = tuple[int, str]
"""The place of a job among those that wait: lower goes first (`core/rank.py`), then by id."""

#: Ends of jobs that are gone through for one estimate: what lies further off nobody can foresee.
_ENDS_MAX: Final = 1_000


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a job takes where it runs.

    Attributes:
        job: its id.
        task: its task.
        queue: its queue.
        rank: its place among those that wait.
        slots: 1; 0: a coroutine, of which a worker runs many.
        bytes: what is set aside for it, at most all that its worker has; 0: nothing is.
        most_bytes: what a worker must have free before it looks into the job's set.
        least_bytes: a worker with less in all cannot hold it.
        beside: what it takes beside memory; None: only a newer release knows.
    """

    job: str
    task: str
    queue: str
    rank: Rank
    slots: int
    bytes: int = 0
    most_bytes: int = 0
    least_bytes: int = 0
    beside: Demand | None = NO_DEMAND

    @property
    def counted(self) -> Mapping[str, int]:
        """What is counted of it beside memory: name -> amount."""
        demand = self.beside or NO_DEMAND
        amounts = {CPUS: demand.cpus_milli, GPUS: demand.gpus, **_resources(demand.resources)}
        return {name: amount for name, amount in amounts.items() if amount}


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has. None: it does not say, and nothing is ruled out.

    Attributes:
        worker: its name.
        queues: that it serves.
        total_bytes: what it may reserve.
        free_bytes: of that, what is not reserved.
        slots: threads and children at once.
        free_slots: of these, those that are free.
        capacity: what else it has, all of it.
        taken: of that, what its jobs have: name -> amount. Shares of GPUs are not counted.
    """

    worker: str
    queues: frozenset[str]
    capacity: Capacity = Capacity()
    taken: Mapping[str, int] = {}
    total_bytes: int | None = None
    free_bytes: int | None = None
    slots: int | None = None
    free_slots: int | None = None

    def holds(self, load: Load) -> bool:
        """Return whether it could take the job if nothing else ran."""
        if self.lacks(load) is not None:
            return False
        return self.total_bytes is None or load.least_bytes <= self.total_bytes

    def lacks(self, load: Load) -> str | None:
        """Return what the job takes beside memory and this worker never has, in words."""
        if load.beside is None:
            return "something that a newer release knows"
        return wanting(self.capacity, load.beside)

    def fits(self, load: Load) -> bool:
        """Return whether it takes the job now."""
        if load.queue not in self.queues or not self.holds(load):
            return False
        if self.free_slots is not None and load.slots > self.free_slots:
            return False
        has = _counted(self.capacity)
        if any(have + self.taken.get(name, 0) > has[name] for name, have in load.counted.items()):
            return False
        return self.free_bytes is None or self._cut(load.most_bytes) <= self.free_bytes

    def with_job(self, load: Load) -> Room:
        """Return what is left once it runs the job."""
        return self._changed(load, -1)

    def without_job(self, load: Load) -> Room:
        """Return what is there once the job has ended."""
        return self._changed(load, 1)

    def _changed(self, load: Load, sign: int) -> Room:
        slots, size, taken = self.free_slots, self.free_bytes, Counter(self.taken)
        for name, amount in load.counted.items():
            taken[name] -= sign * amount
        return msgspec.structs.replace(
            self,
            taken=taken,
            free_slots=None if slots is None else slots + sign * load.slots,
            free_bytes=None if size is None else size + sign * self._cut(load.bytes),
        )

    def _cut(self, size_bytes: int) -> int:
        return size_bytes if self.total_bytes is None else min(size_bytes, self.total_bytes)


def _counted(capacity: Capacity) -> Mapping[str, int]:
    """Return what a worker has of all that is counted beside memory."""
    gpus = len(capacity.gpu_memory_bytes)
    resources = _resources(tuple(capacity.resources.items()))
    return Counter({CPUS: capacity.cpus_milli or 0, GPUS: gpus, **resources})


def _resources(counts: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    return {f"resource.{name}": count for name, count in counts}


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A job that runs.

    Attributes:
        worker: where.
        load: what it takes.
        since_ms: for how long.
    """

    worker: str
    load: Load
    since_ms: int


def place(rooms: Sequence[Room], waiting: Iterable[Load]) -> dict[str, str]:
    """Return which of the waiting jobs start now, and where: id -> worker."""
    return _fill({room.worker: room for room in rooms}, sorted(waiting, key=_by_rank))


def _by_rank(load: Load) -> Rank:
    return load.rank


def _fill(rooms: dict[str, Room], waiting: Sequence[Load]) -> dict[str, str]:
    """Let every room take what fits, `waiting` in its order; the rooms are changed."""
    placed: dict[str, str] = {}
    for worker, free in list(rooms.items()):
        room = free
        for load in waiting:
            # What does not fit now fits no more when others have come.
            if load.job not in placed and room.fits(load):
                room = room.with_job(load)
                placed[load.job] = worker
        rooms[worker] = room
    return placed


def starts_in_ms(
    target: Load,
    *,
    rooms: Sequence[Room],
    running: Sequence[Running],
    waiting: Sequence[Load],
    runs_ms: Mapping[str, int],
) -> int | None:
    """Return in how many milliseconds a job starts, if all goes on as it did; None: nobody knows.

    Jobs that run past the time that their task takes are taken to end now.

    Args:
        target: waits too, and is not among `waiting`.
        rooms: of all workers.
        running: on them.
        waiting: other jobs.
        runs_ms: task -> how long its jobs run; a task that is not there never ends.

    Cost: at most _ENDS_MAX ends are gone through.
    """
    free = {room.worker: room for room in rooms}
    left = sorted([*waiting, target], key=_by_rank)
    ends = [
        (max(0, runs_ms[one.load.task] - one.since_ms), one.load.job, one.worker, one.load)
        for one in running
        if one.load.task in runs_ms and one.worker in free
    ]
    heapq.heapify(ends)
    at_ms, changed = 0, free
    for _ in range(_ENDS_MAX):
        placed = _fill(changed, left)
        free |= changed
        if target.job in placed:
            return at_ms
        for load in left:
            if load.job in placed and load.task in runs_ms:
                end = (at_ms + runs_ms[load.task], load.job, placed[load.job], load)
                heapq.heappush(ends, end)
        left = [one for one in left if one.job not in placed]
        if not ends:
            return None
        at_ms, _, worker, ended = heapq.heappop(ends)
        # Nothing has changed but there.
        changed = {worker: free[worker].without_job(ended)}
    return None
