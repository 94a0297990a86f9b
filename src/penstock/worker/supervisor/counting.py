"""What jobs and ready sets are counted as in this worker: memory, and all else that they take."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.core.admission import Amounts, Set
from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import NO_DEMAND, Demand, amounts_of, demand_of
from penstock.core.job import Claimed
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES, declared_bytes, limit_bytes
from penstock.core.need import Profile, profile_of, sizes_of

from .grants import need_of
from .largest import Largest
from .profiles import Profiles
from .task_facts import Tasks

_MIB: Final = 2**20


class Counted(NamedTuple):
    """What a job is counted as.

    Attributes:
        memory_bytes: that it is to have.
        limit_bytes: that it may not pass; None: nothing is enforced.
        need: the ready set that tells what it takes beside memory.
        demand: the same, read.
    """

    memory_bytes: int
    limit_bytes: int | None
    need: str
    demand: Demand


class Counting:
    """Counts, by what was declared, learned or enlarged.

    Attributes:
        largest: the largest workers alive, to which what is learned is cut.
    """

    def __init__(self, has: Capacity, tasks: Tasks, profiles: Profiles) -> None:
        """Count for a worker that has so much, with a budget of memory."""
        self._has = has
        self._total_bytes = has.memory_bytes or 0
        self._tasks = tasks
        self._profiles = profiles
        self.largest = Largest(has)

    def could_hold(self, one: Set) -> bool:
        """Return whether an empty worker may hold a job of a ready set."""
        queue, need = one
        demand = demand_of(need)
        if demand is None or wanting(self._has, demand) is not None:
            return False
        if (profile := profile_of(need)) is not None:
            return self._learned_bytes(profile, queue, demand) <= self._total_bytes
        sizes = sizes_of(need)
        # Bound: sets tell whole MiB; a budget with a part of one would look again and again.
        return sizes is None or sizes.over_bytes < self._total_bytes // _MIB * _MIB

    def bytes_of(self, one: Set) -> int:
        """Return what memory the largest job of a ready set is counted as.

        A worker whose budget lies inside the set's class counts it as all that there is: claiming
        one shows whether it fits.
        """
        queue, need = one
        if (profile := profile_of(need)) is not None:
            return self._learned_bytes(profile, queue, demand_of(need) or NO_DEMAND)
        sizes = sizes_of(need)
        return min(ASSUMED_BYTES if sizes is None else sizes.most_bytes, self._total_bytes)

    def amounts_of(self, one: Set) -> Amounts:
        """Return all that the largest job of a ready set is counted as."""
        return amounts_of(demand_of(one[1]) or NO_DEMAND, self.bytes_of(one))

    def of_job(self, job: Claimed) -> Counted:
        """Return what a job is counted as that was claimed."""
        need = need_of(job, self._tasks)
        demand = demand_of(need) or NO_DEMAND
        declared, profile = declared_bytes(job.spec, job.charges), profile_of(job.spec.need)
        if declared is None and profile is not None:
            learned = self._learned_bytes(profile, job.queue, demand)
            # Nobody knows what a first run takes: it may have all that there is.
            is_cold = self._profiles.reservation_bytes(profile) is None
            limit = self._total_bytes if is_cold else limit_bytes(learned)
            return Counted(learned, limit, need, demand)
        if declared is None:
            facts = self._tasks.find(job.spec.task)
            declared = None if facts is None else facts.memory_bytes
        if declared is None:
            return Counted(min(ASSUMED_BYTES, self._total_bytes), None, need, demand)
        return Counted(declared, limit_bytes(declared), need, demand)

    def largest_bytes(self, job: Claimed) -> int:
        """Return the budget of the largest worker alive that could run a job."""
        demand = demand_of(need_of(job, self._tasks)) or NO_DEMAND
        return self.largest.memory_bytes(job.queue, demand)

    def _learned_bytes(self, profile: Profile, queue: str, demand: Demand) -> int:
        """Return what a profile's jobs are counted as: no more than the largest worker has."""
        known = self._profiles.reservation_bytes(profile)
        cold = min(COLD_BYTES, self._total_bytes)
        return cold if known is None else min(known, self.largest.memory_bytes(queue, demand))
