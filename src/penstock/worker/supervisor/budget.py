"""What the worker may hand out, and to whom it did: memory, CPUs, resources, GPUs.

A claim that is under way holds back what its jobs may need, as far as their sets tell; once they
are here each holds what it really needs, until its attempt has ended. Belongs to the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from penstock.broker.requests import LeaseFacts
from penstock.core.admission import Amounts, Set, lacking
from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import (
    GPU_CLAIM,
    MEMORY,
    NO_DEMAND,
    amounts_of,
    demand_of,
    in_words,
)
from penstock.core.ids import AttemptKey
from penstock.core.job import Claimed
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES, declared_bytes, limit_bytes, mib
from penstock.core.need import Profile, profile_of, same_demand, sized_need, sizes_of

from .claims import LoneClaim
from .device_shares import DeviceShares
from .grants import Grant, Misfit, everything, need_of
from .host_share import HostShare
from .profiles import Profiles
from .task_facts import Tasks

_MIB: Final = 2**20


class Budget:
    """What is reserved.

    Attributes:
        total_bytes: of memory that may be reserved at once.
        largest_bytes: the budget of the largest worker alive, as far as is known.
        largest_gpu_bytes: memory of the largest GPU of any worker alive; 0: none is known.
        gpus: of this worker, shared with other workers.
        host: the memory that is shared with other workers; None: there is no other.
    """

    def __init__(
        self, total_bytes: int, tasks: Tasks, profiles: Profiles,
        *, capacity: Capacity | None = None, gpus: DeviceShares | None = None,
        host: HostShare | None = None,
    ) -> None:  # fmt: skip
        """Begin with nothing reserved.

        Args:
            total_bytes: as the attribute.
            tasks: of the app.
            profiles: what they were measured to take.
            capacity: what else there is; None: nothing that can be asked for.
            gpus: as the attribute; None: it has none.
            host: as the attribute.
        """
        self.host = host
        self.total_bytes = self.largest_bytes = total_bytes
        self._tasks = tasks
        self._profiles = profiles
        self.gpus = DeviceShares(()) if gpus is None else gpus
        sizes = self.gpus.sizes
        self._has = msgspec.structs.replace(capacity or Capacity(), gpu_memory_bytes=sizes)
        self._own_gpu_bytes = self.largest_gpu_bytes = max(sizes, default=0)
        self._total = everything(total_bytes, self._has)
        self._granted: dict[AttemptKey, Amounts] = {}
        self._promised: dict[LoneClaim, Amounts] = {}
        #: What others were told while the jobs of a claim are given their parts of it.
        self._told_bytes = 0

    def look(self, leases: Sequence[LeaseFacts]) -> None:
        """Take in what all workers can take, as their leases say."""
        told = [one.capacity for one in leases if one.capacity is not None]
        self.largest_bytes = max(self.total_bytes, *(one.memory_bytes or 0 for one in told), 0)
        gpus = [size for one in told for size in one.gpu_memory_bytes]
        self.largest_gpu_bytes = max(self._own_gpu_bytes, *gpus, 0)
        self.gpus.look_after()
        if self.host is not None:
            self.host.look_after()

    @property
    def own_free(self) -> Counter[str]:
        """What no job here holds, and no claim under way may bring a job for."""
        left = Counter(self._total)
        for held in (*self._granted.values(), *self._promised.values()):
            left.subtract(held)
        return left

    @property
    def free(self) -> Amounts:
        """The same, and not reserved by another worker of the host."""
        left = self.own_free
        if self.host is not None:
            left[MEMORY] = min(left[MEMORY], self.host.free_bytes(self.reserved_bytes))
        return left

    @property
    def free_bytes(self) -> int:
        """Bytes of memory that may be reserved still."""
        return self.free[MEMORY]

    @property
    def reserved_bytes(self) -> int:
        """Bytes of memory that attempts hold, and that claims under way may bring."""
        holders = (*self._granted.values(), *self._promised.values())
        return sum(held.get(MEMORY, 0) for held in holders)

    def could_hold(self, need: str) -> bool:
        """Return whether an empty worker may hold a job of a ready set."""
        demand = demand_of(need)
        if demand is None or wanting(self._has, demand) is not None:
            return False
        profile = profile_of(need)
        if profile is not None:
            return self._learned_bytes(profile) <= self.total_bytes
        sizes = sizes_of(need)
        # Bound: sets tell whole MiB; a budget with a part of one would look again and again.
        return sizes is None or sizes.over_bytes < self.total_bytes // _MIB * _MIB

    def short_of(self, need: str, free: Amounts, *, alone: bool = False) -> frozenset[str]:
        """Return the names of what the largest job of a ready set does not find; empty: it fits.

        Args:
            need: of the set.
            free: what may be had of all that is counted.
            alone: GPUs are looked at as if there were no other worker.
        """
        short = lacking(self.amounts_of(need), free)
        demand = demand_of(need) or NO_DEMAND
        fits = self.gpus.fits_alone if alone else self.gpus.fits
        return short if not demand.takes_gpu or fits(demand) else short | {GPU_CLAIM}

    def competes(self, one: Set, other: Set) -> bool:
        """Return whether jobs of the first set take of what those of the second are short of."""
        taken = {name for name, amount in self.amounts_of(one[1]).items() if amount}
        if GPU_CLAIM in taken and self.gpus.fits(demand_of(one[1]) or NO_DEMAND):
            # On a device that is not left to the second.
            taken.remove(GPU_CLAIM)
        return not self.short_of(other[1], self.free).isdisjoint(taken)

    def bytes_of(self, need: str) -> int:
        """Return what memory the largest job of a ready set is counted as.

        A worker whose budget lies inside the set's class counts it as all that there is: claiming
        one shows whether it fits.
        """
        profile = profile_of(need)
        if profile is not None:
            return self._learned_bytes(profile)
        sizes = sizes_of(need)
        return min(ASSUMED_BYTES if sizes is None else sizes.most_bytes, self.total_bytes)

    def amounts_of(self, need: str) -> Amounts:
        """Return all that the largest job of a ready set is counted as."""
        return amounts_of(demand_of(need) or NO_DEMAND, self.bytes_of(need))

    def promise(self, claim: LoneClaim, each: Amounts) -> bool:
        """Hold back what a claim may bring, until `keep_promised` drops it.

        Race: False where another worker of the host took of the same memory meanwhile, or stands
        in the way of taking a GPU.
        """
        if each.get(GPU_CLAIM) and not self.gpus.may_take():
            return False
        jobs = claim.request.limit
        self._promised[claim] = {name: amount * jobs for name, amount in each.items()}
        if self.host is None or self.host.take(self.reserved_bytes):
            return True
        del self._promised[claim]
        return False

    def keep_promised(self, open_claims: list[LoneClaim]) -> None:
        """Drop what was held back for claims that are not open any more; `publish` tells others."""
        if self._promised:
            # Race: until the jobs of a claim have what they need, no other worker may take it.
            self._told_bytes = max(self._told_bytes, self.reserved_bytes)
            self._promised = {
                claim: held for claim, held in self._promised.items() if claim in open_claims
            }

    def grant(self, job: Claimed, *, warm: Collection[str] = ()) -> Grant | Misfit:
        """Reserve what a job needs, or say where it belongs.

        Args:
            job: claimed.
            warm: GPUs on which its task has something loaded.
        """
        needed, limit = self._needs(job)
        set_of = need_of(job, self._tasks)
        demand = demand_of(set_of) or NO_DEMAND
        if needed > self.total_bytes:
            return Misfit(
                same_demand(sized_need(needed, over_bytes=self.total_bytes), set_of),
                f"it needs {mib(needed)}, and this worker may reserve {mib(self.total_bytes)}",
                needed,
            )
        if needed > self.free_bytes:
            # Its set promised less: its task declares more by now than when it was enqueued.
            return Misfit(
                same_demand(sized_need(needed), set_of),
                f"it needs {mib(needed)}, and {mib(self.free_bytes)} are free in this worker",
                needed,
            )
        amounts = dict(amounts_of(demand, needed))
        # What it takes of GPUs is told by devices from here on.
        amounts.pop(GPU_CLAIM, None)
        key = job.id, job.fence
        is_free = not lacking(amounts, self.free)
        devices = self.gpus.take(key, demand, warm=warm) if is_free else None
        if devices is None:
            text = f"it takes {in_words(demand)}, and that is not free here"
            return Misfit(set_of, text, needed)
        told = max(self._told_bytes, self.reserved_bytes + needed)
        if self.host is not None and not self.host.take(told):
            # Race: another worker of the host was quicker than this one's claim.
            self.gpus.give_back(key)
            text = f"it needs {mib(needed)}, which another worker of this host took"
            return Misfit(set_of, text, needed)
        self._granted[key] = amounts
        gpu_bytes = self.gpus.memory_bytes(devices) if demand.gpus else demand.gpu_memory_bytes
        return Grant(needed, limit, demand.threads, devices, gpu_bytes, is_whole=bool(demand.gpus))

    def _needs(self, job: Claimed) -> tuple[int, int | None]:
        """Return (what a job is to have, what it may not pass); None: nothing is enforced."""
        declared, profile = declared_bytes(job.spec, job.charges), profile_of(job.spec.need)
        if declared is None and profile is not None:
            needed = self._learned_bytes(profile)
            # Nobody knows what a first run takes: it may have all that there is.
            is_cold = self._profiles.reservation_bytes(profile) is None
            return needed, self.total_bytes if is_cold else limit_bytes(needed)
        if declared is None:
            facts = self._tasks.find(job.spec.task)
            declared = None if facts is None else facts.memory_bytes
        if declared is None:
            return min(ASSUMED_BYTES, self.total_bytes), None
        return declared, limit_bytes(declared)

    def _learned_bytes(self, profile: Profile) -> int:
        """Return what a profile's jobs are counted as: no more than the largest worker has."""
        known = self._profiles.reservation_bytes(profile)
        cold = min(COLD_BYTES, self.total_bytes)
        return cold if known is None else min(known, self.largest_bytes)

    def give_back(self, job: Claimed) -> None:
        """End a job's reservation: its attempt has ended."""
        # Race: the job may have been claimed here again while this attempt was being ended.
        self._granted.pop((job.id, job.fence), None)
        self.gpus.give_back((job.id, job.fence))
        self.publish()

    def leave_host(self) -> None:
        """Leave what is shared to the other workers: this one ends."""
        self.gpus.close()
        if self.host is not None:
            self.host.close()

    def publish(self) -> None:
        """Tell the other workers of this host what is reserved here."""
        self._told_bytes = 0
        if self.host is not None:
            self.host.note(self.reserved_bytes)
