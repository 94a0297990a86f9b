"""Which waiting jobs find room, where, and when: a model of what the claims of workers bring. Pure.

Each worker takes, best rank first, what fits into what it has free, one worker after the other in
the order given; of a class of sizes it must have room for the largest (`core/admission.py`). Real
workers race, so of several that could take a job any may.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from penstock.core.admission import lacking
from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import CPUS, MEMORY, NO_DEMAND, Demand, amounts_of
from penstock.core.devices import Device, Devices

Rank = tuple[int, str]
"""The place of a job among those that wait: lower goes first (`core/rank.py`), then by id."""

#: Ends of jobs that are gone through for one estimate: what lies further off nobody can foresee.
_ENDS_MAX: Final = 1_000
#: More than any worker has of anything, for one that does not say what it has.
_NO_BOUND: Final = 2**62


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a job takes where it runs.

    Attributes:
        job: its id.
        task: its task.
        queue: its queue.
        rank: its place among those that wait.
        slots: 1; 0: none that is counted.
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


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, and the jobs that it runs.

    Attributes:
        worker: its name.
        queues: that it serves.
        has: what it can take in all; None: it does not say, and of memory nothing is ruled out.
        loads: of its jobs.
    """

    worker: str
    queues: frozenset[str]
    has: Capacity | None = None
    loads: tuple[Load, ...] = ()

    @property
    def total_bytes(self) -> int | None:
        """What it may reserve; None: it does not say."""
        return None if self.has is None else self.has.memory_bytes

    @property
    def free_bytes(self) -> int | None:
        """Of that, what is not reserved."""
        total = self.total_bytes
        return None if total is None else total - sum(self._cut(one.bytes) for one in self.loads)

    @property
    def slots(self) -> int | None:
        """Threads and children at once; None: it does not say."""
        return None if self.has is None else self.has.slots

    @property
    def free_slots(self) -> int | None:
        """Of these, those that are free."""
        return None if self.slots is None else self.slots - sum(one.slots for one in self.loads)

    def lacks(self, load: Load) -> str | None:
        """Return what the job takes beside memory that the worker has not at all, in words."""
        if load.beside is None:
            return "something that a newer release knows"
        return wanting(self.has or Capacity(), load.beside)

    def holds(self, load: Load) -> bool:
        """Return whether it could take the job if nothing else ran."""
        has_memory = self.total_bytes is None or load.least_bytes <= self.total_bytes
        return has_memory and self.lacks(load) is None

    def fits(self, load: Load) -> bool:
        """Return whether it takes the job now."""
        if load.queue not in self.queues or not self.holds(load):
            return False
        if self.free_slots is not None and load.slots > self.free_slots:
            return False
        if not load.slots and not load.bytes:
            # A coroutine or a thread: nothing of it is counted.
            return True
        wanted = amounts_of(load.beside or NO_DEMAND, self._cut(load.most_bytes))
        return not lacking(wanted, self._free(wanted)) and self._has_devices(load)

    def with_job(self, load: Load) -> Room:
        """Return it with one job more."""
        return msgspec.structs.replace(self, loads=(*self.loads, load))

    def without_job(self, job: str) -> Room:
        """Return it without a job that has ended."""
        return msgspec.structs.replace(
            self, loads=tuple(one for one in self.loads if one.job != job)
        )

    def _free(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Return what is free of all that is wanted; who has which GPU is told elsewhere."""
        has = self.has or Capacity()
        there = {f"resource.{name}": count for name, count in has.resources.items()}
        there |= {CPUS: has.cpus_milli or 0}
        there |= {MEMORY: _NO_BOUND if has.memory_bytes is None else has.memory_bytes}
        free = {name: there.get(name, _NO_BOUND) for name in wanted}
        for one in self.loads:
            taken = amounts_of(one.beside or NO_DEMAND, self._cut(one.bytes))
            for name in wanted.keys() & there.keys() & taken.keys():
                free[name] -= taken[name]
        return free

    def _has_devices(self, load: Load) -> bool:
        if self.has is None or load.beside is None or not load.beside.takes_gpu:
            return True
        sizes = self.has.gpu_memory_bytes
        devices = Devices([Device(str(number), size) for number, size in enumerate(sizes)])
        for one in self.loads:
            if one.beside is not None and one.beside.takes_gpu:
                devices.take(one.job, one.beside)
        return devices.fitting(load.beside) is not None

    def _cut(self, size_bytes: int) -> int:
        return size_bytes if self.total_bytes is None else min(size_bytes, self.total_bytes)


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
        rooms: of all workers, with what runs there.
        running: for how long.
        waiting: other jobs.
        runs_ms: task -> how long its jobs run; a task that is not there never ends.

    Cost: at most _ENDS_MAX ends are gone through.
    """
    free = {room.worker: room for room in rooms}
    left = sorted([*waiting, target], key=_by_rank)
    ends = [
        (max(0, runs_ms[one.load.task] - one.since_ms), one.load.job, one.worker)
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
                heapq.heappush(ends, (at_ms + runs_ms[load.task], load.job, placed[load.job]))
        left = [one for one in left if one.job not in placed]
        if not ends:
            return None
        at_ms, ended, worker = heapq.heappop(ends)
        # Nothing has changed but there.
        changed = {worker: free[worker].without_job(ended)}
    return None
