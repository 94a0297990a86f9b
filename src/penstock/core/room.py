"""A worker with what it has free, and whether it takes a job now. Pure.

What keeps a worker that could hold a job from taking it now are its `obstacles`, each by a kind of
its own, so that each can be named, and taken away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from penstock.core.admission import lacking
from penstock.core.capacity import Capacity, Stance, wanting
from penstock.core.demand import (
    CPUS,
    GPU_CLAIM,
    MEMORY,
    NO_DEMAND,
    amounts_of,
    demand_of,
)
from penstock.core.devices import Device, Devices
from penstock.core.load import Load

#: More than any worker has of anything, for one that does not say what it has.
_NO_BOUND: Final = 2**62
#: What keeps a worker from taking a job that it could hold: its jobs have its slots, its memory or
#: what else it has; other workers of its host have the memory that they share; it runs as many jobs
#: of the queue as a worker may; it, or a neighbour, keeps itself free for another job that has
#: waited long; memory is short on its machine; it takes nothing.
FULL: Final = "full"
HOST: Final = "host"
LIMIT: Final = "limit"
GATE: Final = "gate"
PRESSURE: Final = "pressure"
QUIET: Final = "quiet"
OBSTACLES: Final = (FULL, HOST, LIMIT, GATE, PRESSURE, QUIET)

#: Obstacles that are a worker's stance, with its attribute as it is without them.
_STANCES: Final = (
    (GATE, "held_for", None), (PRESSURE, "is_pressed", False), (QUIET, "is_quiet", False),
)  # fmt: skip


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, and the jobs that it runs.

    Attributes:
        worker: its name.
        queues: that it serves.
        has: what it can take in all; None: it does not say, and of memory nothing is ruled out.
        loads: of its jobs.
        others_bytes: what other workers have reserved of the pool of memory that it shares.
        wanted_bytes: what beside that they want left free, for jobs that have waited long.
    """

    worker: str
    queues: frozenset[str]
    has: Capacity | None = None
    loads: tuple[Load, ...] = ()
    others_bytes: int = 0
    wanted_bytes: int = 0

    @property
    def total_bytes(self) -> int | None:
        """What it may reserve; None: it does not say."""
        return None if self.has is None else self.has.memory_bytes

    @property
    def reserved_bytes(self) -> int:
        """What is reserved there."""
        return sum(self._cut(one.bytes) for one in self.loads)

    @property
    def own_free_bytes(self) -> int | None:
        """Of what it may reserve, what it has not reserved."""
        total = self.total_bytes
        return None if total is None else total - self.reserved_bytes

    @property
    def free_bytes(self) -> int | None:
        """Of that, what others of its host have not reserved either."""
        own, pool = self.own_free_bytes, self.free_of_pool
        return own if own is None or pool is None else min(own, pool)

    @property
    def pool(self) -> str:
        """The pool of memory that it shares with other workers; empty: none is known."""
        return "" if self.has is None or self.has.pool_bytes is None else self.has.pool

    @property
    def free_of_pool(self) -> int | None:
        """What nobody has reserved of the pool that it shares; None: it shares none."""
        if self.has is None or self.has.pool_bytes is None:
            return None
        return self.has.pool_bytes - self.others_bytes - self.reserved_bytes

    @property
    def slots(self) -> int | None:
        """Threads and children at once; None: it does not say."""
        return None if self.has is None else self.has.slots

    @property
    def free_slots(self) -> int | None:
        """Of these, those that are free; plain functions that are light have others first."""
        if self.slots is None:
            return None
        light = min(self.light_slots or 0, self._in_lane("light"))
        return self.slots + light - sum(one.slots for one in self.loads)

    @property
    def light_slots(self) -> int | None:
        """Further slots, of the light lane; None: it does not say."""
        return None if self.has is None else self.has.light_slots

    @property
    def free_light_slots(self) -> int | None:
        """Of these, those that are free."""
        return None if self.light_slots is None else self.light_slots - self._in_lane("light")

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
        return load.queue in self.queues and self.holds(load) and not self.obstacles(load)

    def obstacles(self, load: Load) -> frozenset[str]:
        """Return what keeps it from taking now a job that it holds; empty: nothing does.

        The job starts there once all of them are gone, and as long as one is there it does not.
        """
        found = set()
        if self.is_full_for(load):
            found.add(FULL)
        pool = self.free_of_pool
        if pool is not None and load.is_lone and self._cut(load.most_bytes) > pool:
            found.add(HOST)
        limit = self.limit_for(load)
        if limit is not None and self.of_queue(load) >= limit:
            found.add(LIMIT)
        stance = self.stance
        if stance.is_quiet:
            found.add(QUIET)
        if stance.is_pressed and load.is_lone and any(one.is_lone for one in self.loads):
            found.add(PRESSURE)
        freed = self.without({HOST}, load) if HOST in found else self
        # Where there is no room, the one that it is kept for goes first when there is.
        if freed.is_left_for_others(load) or (FULL not in found and freed.is_kept_from(load)):
            found.add(GATE)
        return frozenset(found)

    @property
    def held_for(self) -> tuple[str, str] | None:
        """The ready set for which it keeps room; None: it takes what fits."""
        return self.stance.held_for

    def opened(self) -> Room:
        """Return it as it is when it keeps room for nobody."""
        has = self.has or Capacity()
        stance = msgspec.structs.replace(self.stance, held_for=None, held_bytes=0, wanted_bytes=0)
        return msgspec.structs.replace(self, has=msgspec.structs.replace(has, stance=stance))

    @property
    def stance(self) -> Stance:
        """What it does not take for the moment."""
        return (None if self.has is None else self.has.stance) or Stance()

    def is_left_for_others(self, load: Load) -> bool:
        """Return whether memory that a job would find is left to another worker of the host."""
        pool = self.free_of_pool
        is_short = pool is not None and self._cut(load.most_bytes) > pool - self.wanted_bytes
        return is_short and load.is_lone

    def is_kept_from(self, load: Load) -> bool:
        """Return whether room that a job would find is kept for one that has waited longer."""
        stance = self.stance
        held_for = stance.held_for
        if not load.is_lone or held_for is None or held_for == (load.queue, load.need):
            return False
        demand = demand_of(held_for[1]) or NO_DEMAND
        first = Load(
            job="", task="", queue=held_for[0], rank=(0, ""), slots=1, bytes=stance.held_bytes,
            most_bytes=stance.held_bytes, beside=demand,
        )  # fmt: skip
        short = self._short_of(first)
        if not short:
            # It goes first, with what is left for others.
            return self.with_job(first).is_full_for(load)
        taken = amounts_of(load.beside or NO_DEMAND, self._cut(load.most_bytes))
        return not short.isdisjoint(name for name, amount in taken.items() if amount)

    def _short_of(self, load: Load) -> frozenset[str]:
        """Return the names of what a job does not find; slots are none of it."""
        wanted = amounts_of(load.beside or NO_DEMAND, self._cut(load.most_bytes))
        free, pool = self._free(wanted), self.free_of_pool
        if pool is not None and MEMORY in free:
            free[MEMORY] = min(free[MEMORY], pool - self.wanted_bytes)
        short = lacking(wanted, free)
        return short if self.has_devices(load) else short | {GPU_CLAIM}

    def left_of(self, load: Load) -> dict[str, tuple[int, int]]:
        """Return of the CPUs and resources that a job takes what is free, and how much there is."""
        names = amounts_of(load.beside or NO_DEMAND).keys() - {MEMORY, GPU_CLAIM}
        has = Capacity() if self.has is None else self.has
        there = {f"resource.{name}": count for name, count in has.resources.items()}
        there[CPUS] = has.cpus_milli or 0
        free = self._free(dict.fromkeys(names, 0))
        return {name: (free[name], there.get(name, 0)) for name in sorted(names)}

    def limit_for(self, load: Load) -> int | None:
        """Return how many jobs like this one it may run of its queue; None: it knows no limit."""
        return None if self.has is None else self.has.limit_of(load.queue, is_lone=load.is_lone)

    def of_queue(self, load: Load) -> int:
        """Return how many jobs that count with this one it runs of its queue."""
        return sum(one.queue == load.queue and one.is_lone is load.is_lone for one in self.loads)

    def without(self, obstacles: Collection[str], load: Load) -> Room:
        """Return it as it is when these obstacles to a job are gone; that it is full stays."""
        has = self.has
        if has is not None and HOST in obstacles:
            has = msgspec.structs.replace(has, pool="", pool_bytes=None)
        if has is not None and LIMIT in obstacles:
            limits = {name: most for name, most in has.queue_limits.items() if name != load.queue}
            has = msgspec.structs.replace(has, queue_limits=limits)
        gone = {name: value for kind, name, value in _STANCES if kind in obstacles}
        if has is not None and gone:
            stance = msgspec.structs.replace(self.stance, **gone)
            has = msgspec.structs.replace(has, stance=stance)
        wanted = 0 if GATE in obstacles else self.wanted_bytes
        return msgspec.structs.replace(self, has=has, wanted_bytes=wanted)

    def with_job(self, load: Load) -> Room:
        """Return it with one job more."""
        return msgspec.structs.replace(self, loads=(*self.loads, load))

    def without_job(self, job: str) -> Room:
        """Return it without a job that has ended."""
        return msgspec.structs.replace(
            self, loads=tuple(one for one in self.loads if one.job != job)
        )

    def is_full_for(self, load: Load) -> bool:
        """Return whether its own jobs have what this one takes."""
        if load.lane and self.free_light_slots is None:
            # Where nobody tells how many light slots there are.
            return False
        is_light = load.lane == "light" and (self.free_light_slots or 0) > 0
        if self.free_slots is not None and load.slots > self.free_slots and not is_light:
            return True
        if load.lane or not (load.slots or load.is_lone):
            # Of a coroutine or a thread nothing else is counted.
            return False
        wanted = amounts_of(load.beside or NO_DEMAND, self._cut(load.most_bytes))
        return bool(lacking(wanted, self._free(wanted))) or not self.has_devices(load)

    def _in_lane(self, lane: str) -> int:
        return sum(one.lane == lane for one in self.loads)

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

    def has_devices(self, load: Load) -> bool:
        """Return whether the GPUs that a job takes are there, and free; who takes none has them."""
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
