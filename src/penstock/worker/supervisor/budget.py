"""What the worker may hand out, and to whom it did: memory, CPUs, resources, GPUs.

A claim that is under way holds back what its jobs may need, as far as their sets tell; once they
are here each holds what it really needs, until its attempt has ended. Belongs to the loop.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from penstock.broker.requests import LeaseFacts
from penstock.core.admission import Amounts, Set, lacking
from penstock.core.capacity import Capacity
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
from penstock.core.memory import mib
from penstock.core.need import same_demand, sized_need

from .claims import LoneClaim
from .counting import Counting
from .device_shares import DeviceShares
from .grants import Grant, Misfit, everything
from .host_share import HostShare
from .profiles import Profiles
from .task_facts import Tasks


class Budget:
    """What is reserved.

    Attributes:
        total_bytes: of memory that may be reserved at once.
        counting: what jobs and ready sets are counted as here.
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
        self.total_bytes = total_bytes
        self.gpus = DeviceShares(()) if gpus is None else gpus
        has = msgspec.structs.replace(
            capacity or Capacity(), memory_bytes=total_bytes, gpu_memory_bytes=self.gpus.sizes
        )
        self.counting = Counting(has, tasks, profiles)
        #: What no job holds, and no claim under way may bring a job for.
        self._left = dict(everything(total_bytes, has))
        self._granted: dict[AttemptKey, Amounts] = {}
        self._promised: dict[LoneClaim, Amounts] = {}
        #: What others were told while the jobs of a claim are given their parts of it.
        self._told_bytes = 0

    def look(self, leases: Sequence[LeaseFacts]) -> None:
        """Take in what all workers can take, as their leases say."""
        self.counting.largest.look(leases)
        self.gpus.look_after()
        if self.host is not None:
            self.host.look_after()

    @property
    def own_free(self) -> Amounts:
        """What no job here holds, and no claim under way may bring a job for."""
        return dict(self._left)

    @property
    def free(self) -> Amounts:
        """The same, and not reserved by another worker of the host."""
        return {**self._left, MEMORY: self.free_bytes}

    @property
    def free_bytes(self) -> int:
        """Bytes of memory that may be reserved still."""
        own_bytes = self._left[MEMORY]
        if self.host is None:
            return own_bytes
        return min(own_bytes, self.host.free_bytes(self.reserved_bytes))

    @property
    def reserved_bytes(self) -> int:
        """Bytes of memory that attempts hold, and that claims under way may bring."""
        return self.total_bytes - self._left[MEMORY]

    def _hold(self, amounts: Amounts) -> None:
        for name, amount in amounts.items():
            self._left[name] = self._left.get(name, 0) - amount

    def _let_go(self, amounts: Amounts) -> None:
        for name, amount in amounts.items():
            self._left[name] = self._left.get(name, 0) + amount

    def short_of(self, one: Set, free: Amounts, *, alone: bool = False) -> frozenset[str]:
        """Return the names of what the largest job of a ready set does not find; empty: it fits.

        Args:
            one: the set.
            free: what may be had of all that is counted.
            alone: GPUs are looked at as if there were no other worker.
        """
        short = lacking(self.counting.amounts_of(one), free)
        demand = demand_of(one[1]) or NO_DEMAND
        fits = self.gpus.fits_alone if alone else self.gpus.fits
        return short if not demand.takes_gpu or fits(demand) else short | {GPU_CLAIM}

    def competes(self, one: Set, other: Set) -> bool:
        """Return whether jobs of the first set take of what those of the second are short of."""
        taken = {name for name, amount in self.counting.amounts_of(one).items() if amount}
        if GPU_CLAIM in taken and self.gpus.fits(demand_of(one[1]) or NO_DEMAND):
            # On a device that is not left to the second.
            taken.remove(GPU_CLAIM)
        return not self.short_of(other, self.free).isdisjoint(taken)

    def promise(self, claim: LoneClaim, each: Amounts) -> bool:
        """Hold back what a claim may bring, until `keep_promised` drops it.

        Race: False where another worker of the host took of the same memory meanwhile, or stands
        in the way of taking a GPU.
        """
        if each.get(GPU_CLAIM) and not self.gpus.may_take():
            return False
        jobs = claim.request.limit
        held = {name: amount * jobs for name, amount in each.items()}
        self._promised[claim] = held
        self._hold(held)
        if self.host is None or self.host.take(self.reserved_bytes):
            return True
        self._let_go(self._promised.pop(claim))
        return False

    def keep_promised(self, open_claims: list[LoneClaim]) -> None:
        """Drop what was held back for claims that are not open any more; `publish` tells others."""
        if self._promised:
            # Race: until the jobs of a claim have what they need, no other worker may take it.
            self._told_bytes = max(self._told_bytes, self.reserved_bytes)
            for claim in [one for one in self._promised if one not in open_claims]:
                self._let_go(self._promised.pop(claim))

    def grant(self, job: Claimed, *, warm: Collection[str] = ()) -> Grant | Misfit:
        """Reserve what a job needs, or say where it belongs.

        Args:
            job: claimed.
            warm: GPUs on which its task has something loaded.
        """
        needed, limit, set_of, demand = self.counting.of_job(job)
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
        self._hold(amounts)
        gpu_bytes = self.gpus.memory_bytes(devices) if demand.gpus else demand.gpu_memory_bytes
        return Grant(needed, limit, demand.threads, devices, gpu_bytes, is_whole=bool(demand.gpus))

    def give_back(self, job: Claimed) -> None:
        """End a job's reservation: its attempt has ended. Others are told by `publish`.

        Not at once: the next claim, which is drawn right after, mostly takes as much again.
        """
        # Race: the job may have been claimed here again while this attempt was being ended.
        self._let_go(self._granted.pop((job.id, job.fence), {}))
        self.gpus.give_back((job.id, job.fence))

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
