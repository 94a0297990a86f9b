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

from penstock.core.load import Load, Rank
from penstock.core.pool import sharing
from penstock.core.room import Room

#: Ends of jobs that are gone through for one estimate: what lies further off nobody can foresee.
_ENDS_MAX: Final = 1_000


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
    free, left = {room.worker: room for room in rooms}, sorted(waiting, key=_by_rank)
    placed: dict[str, str] = {}
    while came := _fill(free, left):
        placed |= came
        started = {(one.queue, one.need) for one in left if one.job in came}
        left = [one for one in left if one.job not in came]
        gone = started - {(one.queue, one.need) for one in left}
        # Room is kept no longer for a set of which nothing waits.
        opened = {name: room.opened() for name, room in free.items() if room.held_for in gone}
        if not opened:
            break
        free |= opened
    return placed


def _by_rank(load: Load) -> Rank:
    return load.rank


def _fill(rooms: dict[str, Room], waiting: Sequence[Load]) -> dict[str, str]:
    """Let every room take what fits, `waiting` in its order; the rooms are changed."""
    placed: dict[str, str] = {}
    for worker in list(rooms):
        # What one has taken of a pool that workers share, the next one does not find.
        room = sharing(rooms)[worker] if rooms[worker].pool else rooms[worker]
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
        # Nothing has changed but there, and for those that share its memory.
        free[worker] = free[worker].without_job(ended)
        pool = free[worker].pool
        changed = {
            name: room
            for name, room in free.items()
            if name == worker or (pool and room.pool == pool)
        }
    return None
