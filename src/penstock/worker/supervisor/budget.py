"""How much memory the worker may reserve, and for what it is reserved. Belongs to the loop.

A claim that is under way holds back what its jobs may need, as far as their sets tell; once they
are here each holds what it really needs, until its attempt has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.broker.requests import LeaseFacts
from penstock.core.ids import AttemptKey
from penstock.core.job import Claimed
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES, declared_bytes, limit_bytes, mib
from penstock.core.need import Profile, profile_of, sized_need, sizes_of

from .claims import LoneClaim
from .profiles import Profiles
from .task_facts import Tasks


class Grant(NamedTuple):
    """What one attempt is given.

    Attributes:
        reserved_bytes: set aside for it.
        limit_bytes: what it may not pass; None: nothing was declared, and nothing is enforced.
    """

    reserved_bytes: int
    limit_bytes: int | None


class Misfit(NamedTuple):
    """A job that the worker cannot take now; `need` is the ready set in which others find it."""

    need: str
    text: str


class Budget:
    """What is reserved.

    Attributes:
        total_bytes: that may be reserved at once.
        largest_bytes: the budget of the largest worker alive, as far as is known.
    """

    def __init__(self, total_bytes: int, tasks: Tasks, profiles: Profiles) -> None:
        """Begin with nothing reserved."""
        self.total_bytes = self.largest_bytes = total_bytes
        self._tasks = tasks
        self._profiles = profiles
        self._granted: dict[AttemptKey, int] = {}
        self._promised: dict[LoneClaim, int] = {}

    def look(self, leases: Sequence[LeaseFacts]) -> None:
        """Take in what all workers can take, as their leases say."""
        told = (one.capacity.memory_bytes for one in leases if one.capacity is not None)
        self.largest_bytes = max(self.total_bytes, *(size or 0 for size in told), 0)

    @property
    def reserved_bytes(self) -> int:
        """What attempts hold, and what claims under way may bring."""
        return sum(self._granted.values()) + sum(self._promised.values())

    @property
    def free_bytes(self) -> int:
        """What may be reserved still."""
        return self.total_bytes - self.reserved_bytes

    def could_hold(self, need: str) -> bool:
        """Return whether an empty worker may hold a job of a ready set."""
        profile = profile_of(need)
        if profile is not None:
            return self._learned_bytes(profile) <= self.total_bytes
        sizes = sizes_of(need)
        return sizes is None or sizes.over_bytes < self.total_bytes

    def bytes_of(self, need: str) -> int:
        """Return what the largest job of a ready set takes that this worker could hold."""
        profile = profile_of(need)
        if profile is not None:
            return self._learned_bytes(profile)
        sizes = sizes_of(need)
        return min(ASSUMED_BYTES if sizes is None else sizes.most_bytes, self.total_bytes)

    def promise(self, claim: LoneClaim, each_bytes: int) -> None:
        """Hold back what a claim may bring, until `keep_promised` drops it."""
        self._promised[claim] = each_bytes * claim.request.limit

    def keep_promised(self, open_claims: list[LoneClaim]) -> None:
        """Drop what was held back for claims that are not open any more."""
        if self._promised:
            self._promised = {
                claim: held for claim, held in self._promised.items() if claim in open_claims
            }

    def grant(self, job: Claimed) -> Grant | Misfit:
        """Reserve what a job needs, or say where it belongs."""
        needed, limit = self._needs(job)
        if needed > self.total_bytes:
            return Misfit(
                sized_need(needed, over_bytes=self.total_bytes),
                f"it needs {mib(needed)}, and this worker may reserve {mib(self.total_bytes)}",
            )
        if needed > self.free_bytes:
            # Its set promised less: its task declares more by now than when it was enqueued.
            return Misfit(
                sized_need(needed),
                f"it needs {mib(needed)}, and {mib(self.free_bytes)} are free in this worker",
            )
        self._granted[job.id, job.fence] = needed
        return Grant(needed, limit)

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
