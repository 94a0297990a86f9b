"""Another worker, in the test's own thread: it takes jobs over and does with them what it likes."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from penstock.broker.protocol import Broker
from penstock.broker.requests import ClaimRequest, Offer, OpenLease, Owner, ReclaimRequest
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import SHARED, Claimed, Reason, StoredError
from penstock.core.settlement import Applied, Bury, Complete, Release, Retry
from penstock.errors import OutcomeUnknown
from penstock.testing.faulty import Call, Fault, Plan

#: Milliseconds: longer than any test.
_LONG_MS = 3_600_000


class Rival:
    """A worker with a lease of its own on one queue of `store`."""

    def __init__(self, store: Broker, queue: str) -> None:
        """Open its lease."""
        self._store = store
        self._queue = queue
        self._lease = LeaseId(secrets.token_hex(16))
        owner = Owner("rival@1-z", "there", "another-boot", 9, 1, 1)
        store.register([queue])
        store.open_lease(OpenLease(id=self._lease, queues=(queue,), owner=owner, ttl_ms=_LONG_MS))

    def take_over(self) -> Claimed:
        """Close the leases of all others and take the one job that ran under them."""
        others = [one.id for one in self._store.leases() if one.id != self._lease]
        self._store.close_leases(others)
        request = ReclaimRequest(
            lease=self._lease,
            queues=(self._queue,),
            fence=Fence(secrets.token_hex(16)),
            limit=10,
            lease_ttl_ms=_LONG_MS,
        )
        (job,) = self._store.reclaim(request).jobs
        return job

    def lose(self) -> None:
        """Take the job over, and let it wait to be run again."""
        job = self.take_over()
        error = StoredError("lost", "nobody saw how")
        lost = Retry(
            id=job.id, fence=job.fence, outcome="lost", error=error, delay_ms=_LONG_MS,
            charges=job.charges,
        )  # fmt: skip
        assert self._store.settle([lost]) == [Applied.APPLIED]

    def run_again(self) -> Claimed:
        """Take the job over, release it, and claim it as a new attempt."""
        job = self.take_over()
        released = Release(id=job.id, fence=job.fence, outcome="lost", charges=job.charges)
        assert self._store.settle([released]) == [Applied.APPLIED]
        request = ClaimRequest(
            lease=self._lease,
            offers=(Offer(self._queue, (SHARED,)),),
            limit=1,
            fence=Fence(secrets.token_hex(16)),
        )
        (again,) = self._store.claim(request).jobs
        return again

    def complete(self) -> None:
        """Run the job again, to a good end."""
        job = self.run_again()
        done = Complete(id=job.id, fence=job.fence, outcome="succeeded", result=b'"theirs"')
        assert self._store.settle([done]) == [Applied.APPLIED]

    def bury(self) -> None:
        """Run the job again, until it is dead."""
        job = self.run_again()
        dead = Bury(
            id=job.id, fence=job.fence, outcome="failed", reason=Reason.RETRIES_EXHAUSTED,
            error=StoredError("ValueError", "no"),
        )  # fmt: skip
        assert self._store.settle([dead]) == [Applied.APPLIED]


#: What can become of a job that was taken over.
FATES: tuple[Callable[[Rival], object], ...] = (
    Rival.take_over,
    Rival.lose,
    Rival.complete,
    Rival.bury,
)


def first_of(verbs: set[str], act: Callable[[], object]) -> Plan:
    """Return a plan: the first call of `verbs` is not made, `act` is, and nobody is told."""
    acted: list[Call] = []

    def plan(call: Call) -> Fault:
        if call.verb in verbs and not acted:
            acted.append(call)
            act()
            raise OutcomeUnknown("the call is lost by the test: call again")
        return Fault.NONE

    return plan
