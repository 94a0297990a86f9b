"""The stage of every case: short ways to put jobs in, run them, and look at them."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any, Final

import msgspec

from penstock.broker import requests as r
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import SHARED, Charges, Claimed, JobRecord, JobSpec, Parent, Reason
from penstock.core.lifecycle import State
from penstock.errors import BrokerError

from .harness import Harness
from .snapshot import every_job

#: The lease of the cases, the default of a worker.
LEASE_MS: Final = 12_000
#: How often the reaper of the cases looks, in milliseconds: a quarter of a lease.
TICK_MS: Final = 3_000
#: Seconds until something that another thread must do counts as not done.
DEADLINE_S: Final = 30.0

QUEUE: Final = "q"
"""The queue of cases that need only one."""
OTHER: Final = "other"
"""The queue of cases that need two."""


class Scene:
    """A store with two registered queues, and a handle on it.

    Attributes:
        harness: the store and its clocks.
        broker: the handle that the short ways use.
    """

    def __init__(self, harness: Harness) -> None:
        """Open a handle and register `QUEUE` and `OTHER`."""
        self.harness = harness
        self.broker = harness.open()
        self.tags = dict(self.broker.register([QUEUE, OTHER]))
        self._ids = JobIdSource()
        self._numbers = count(1)
        self._in_hand: dict[JobId, Claimed] = {}

    # Putting jobs in.

    def new_id(self, queue: str = QUEUE) -> JobId:
        """Draw a job id; later ones are greater."""
        number = next(self._numbers)
        return self._ids.draw(self.harness.wall_ms(), self.tags[queue], number)

    def job(  # noqa: PLR0913 - one keyword per field, so that a case names only what it is about
        self,
        queue: str = QUEUE,
        *,
        id: JobId | None = None,  # noqa: A002 - the name of the field
        after: tuple[JobId | Parent, ...] = (),
        delay_ms: int | None = None,
        due_at: int | None = None,
        key_digest: str | None = None,
        key_ttl_ms: int = 86_400_000,
        task: str = "task",
        payload: bytes = b"{}",
        **spec: Any,  # the other fields of JobSpec
    ) -> r.EnqueueRequest:
        """Return a request for one job; the rest of the keywords go to its spec."""
        parents = tuple(p if isinstance(p, Parent) else Parent(p) for p in after)
        return r.EnqueueRequest(
            id=self.new_id(queue) if id is None else id,
            queue=queue,
            spec=JobSpec(task=task, payload=msgspec.Raw(payload), **spec),
            delay_ms=delay_ms,
            due_at=due_at,
            parents=parents,
            key_digest=key_digest,
            key_ttl_ms=key_ttl_ms,
        )

    def put(self, queue: str = QUEUE, **fields: Any) -> JobId:
        """Enqueue one job as `job` describes it, and return its id."""
        (answer,) = self.accept(self.job(queue, **fields))
        assert not answer.duplicate, answer
        return answer.id

    def accept(self, *requests: r.EnqueueRequest) -> list[r.Accepted]:
        """Enqueue jobs in one batch; each must be accepted."""
        answers = self.broker.enqueue(requests)
        assert len(answers) == len(requests), answers
        accepted = [answer for answer in answers if isinstance(answer, r.Accepted)]
        assert len(accepted) == len(requests), answers
        return accepted

    def refuse(self, request: r.EnqueueRequest) -> BrokerError:
        """Enqueue one job that must be refused, and return why."""
        (answer,) = self.broker.enqueue([request])
        assert isinstance(answer, r.Refused), answer
        return answer.error

    def put_many(self, number: int, queue: str = QUEUE, **fields: Any) -> list[JobId]:
        """Enqueue jobs of one kind in one batch, and return their ids."""
        requests = [self.job(queue, **fields) for _ in range(number)]
        return [answer.id for answer in self.accept(*requests)]

    # Leases and claims.

    def owner(self, worker: str = "worker-1", pid: int = 4711) -> r.Owner:
        """Return an owner of a lease."""
        return r.Owner(worker, "host", "boot", 4_026_531_836, pid, 1234)

    def new_lease_id(self) -> LeaseId:
        """Draw a lease id."""
        return LeaseId(f"{0xA << 124 | next(self._numbers):032x}")

    def lease(
        self,
        *queues: str,
        ttl_ms: int = LEASE_MS,
        worker: str = "worker-1",
        pid: int = 4711,
        wake_token: str | None = None,
    ) -> LeaseId:
        """Open a lease for the queues (none: both) and return its id."""
        lease_id = self.new_lease_id()
        self.broker.open_lease(
            r.OpenLease(
                id=lease_id,
                queues=queues or (QUEUE, OTHER),
                owner=self.owner(worker, pid),
                ttl_ms=ttl_ms,
                wake_token=wake_token,
            )
        )
        return lease_id

    def new_fence(self) -> Fence:
        """Draw a fence."""
        return Fence(f"{0xF << 124 | next(self._numbers):032x}")

    def request(
        self,
        lease: LeaseId,
        *offers: r.Offer,
        limit: int = 10,
        fence: Fence | None = None,
        wake_token: str | None = None,
    ) -> r.ClaimRequest:
        """Return a claim; no offers: the shared set of `QUEUE`."""
        return r.ClaimRequest(
            lease=lease,
            offers=offers or (r.Offer(QUEUE, (SHARED,)),),
            limit=limit,
            fence=self.new_fence() if fence is None else fence,
            wake_token=wake_token,
        )

    def claim(self, lease: LeaseId, *offers: r.Offer, limit: int = 10) -> tuple[Claimed, ...]:
        """Claim and return the jobs."""
        return self.broker.claim(self.request(lease, *offers, limit=limit)).jobs

    def run(self, job_id: JobId, lease: LeaseId | None = None) -> Claimed:
        """Return `job_id` claimed. What is due, and what stands before it, is claimed with it."""
        record = self.record(job_id)
        if record.state is State.RUNNING and lease is None:
            return self._in_hand[job_id]
        self.broker.promote([record.queue], limit=r.BATCH_MAX)
        lease = self.lease(ttl_ms=1_000 * LEASE_MS) if lease is None else lease
        needs = tuple(self.broker.needs([record.queue])[record.queue])
        jobs = self.claim(lease, r.Offer(record.queue, needs), limit=r.BATCH_MAX)
        self._in_hand |= {job.id: job for job in jobs}
        return self._in_hand[job_id]

    # Settling.

    def settle(self, settlement: s.Settlement) -> s.Applied:
        """Settle one job."""
        (applied,) = self.broker.settle([settlement])
        return applied

    def complete(self, job: Claimed, result: bytes | None = None) -> s.Applied:
        """Settle as completed."""
        return self.settle(complete(job, result))

    def bury(self, job: Claimed) -> s.Applied:
        """Settle as dead."""
        return self.settle(bury(job))

    # Looking.

    def record(self, job_id: JobId) -> JobRecord:
        """Return the record of a job that must exist."""
        record = self.broker.get(job_id)
        assert record is not None, f"job {job_id} is gone"
        return record

    def state(self, job_id: JobId) -> State:
        """Return the state of a job that must exist."""
        return self.record(job_id).state

    def states(self, *job_ids: JobId) -> list[State]:
        """Return the states of jobs that must exist."""
        return [self.state(job_id) for job_id in job_ids]

    def all_jobs(self) -> list[JobRecord]:
        """Return every job, newest id first."""
        return every_job(self.broker)

    def counts(self, queue: str = QUEUE) -> r.QueueCounts:
        """Return the counters of one queue."""
        return next(counted for counted in self.broker.counts() if counted.queue == queue)

    def check_counters(self) -> None:
        """Assert that the counters equal a recount of all jobs."""
        truth = Counter((job.queue, job.state) for job in self.all_jobs())
        for counted in self.broker.counts():
            for state in State:
                kept, real = getattr(counted, state), truth[counted.queue, state]
                assert kept == real, f"{counted.queue} counts {kept} {state}, there are {real}"

    # Bringing a job into a state.

    def in_state(self, state: State, queue: str = QUEUE, **fields: Any) -> JobId:
        """Return a job that is in `state` and got there by the verbs of the port."""
        make = {
            State.BLOCKED: self._blocked,
            State.SCHEDULED: lambda q, f: self.put(q, delay_ms=60_000, **f),
            State.QUEUED: lambda q, f: self.put(q, **f),
            State.RUNNING: lambda q, f: self._settled(q, f, None),
            State.RETRYING: lambda q, f: self._settled(q, f, retry),
            State.COMPLETED: lambda q, f: self._settled(q, f, complete),
            State.DEAD: lambda q, f: self._settled(q, f, bury),
            State.CANCELLED: self._cancelled,
            State.EXPIRED: self._expired,
        }[state]
        job_id = make(queue, fields)
        assert self.state(job_id) is state
        return job_id

    def _blocked(self, queue: str, fields: dict[str, Any]) -> JobId:
        parent = self.put(queue, delay_ms=10_000_000, priority=0)
        return self.put(queue, after=(parent,), **fields)

    def _settled(self, queue: str, fields: dict[str, Any], settle: Any) -> JobId:
        # A ready set of its own, so that no other job is claimed with it.
        need = f"alone.m{next(self._numbers)}"
        job_id = self.put(queue, **{"need": need, **fields})
        lease = self.lease(ttl_ms=1_000 * LEASE_MS)
        (running,) = self.claim(lease, r.Offer(queue, (self.record(job_id).spec.need,)))
        self._in_hand[job_id] = running
        if settle is not None:
            self.settle(settle(running))
        return job_id

    def _cancelled(self, queue: str, fields: dict[str, Any]) -> JobId:
        job_id = self.put(queue, **fields)
        self.broker.cancel([job_id])
        return job_id

    def _expired(self, queue: str, fields: dict[str, Any]) -> JobId:
        job_id = self.put(queue, **{**fields, "expires_ms": 0})
        self.broker.expire([queue], limit=r.BATCH_MAX)
        return job_id


def complete(job: Claimed, result: bytes | None = None) -> s.Complete:
    """Return a settlement: it went well."""
    return s.Complete(id=job.id, fence=job.fence, outcome="succeeded", result=result)


def retry(job: Claimed, delay_ms: int = 60_000, need: str | None = None) -> s.Retry:
    """Return a settlement: one error, again after `delay_ms`."""
    charges = Charges(errors=job.charges.errors + 1)
    return s.Retry(
        id=job.id, fence=job.fence, outcome="failed", delay_ms=delay_ms, charges=charges, need=need
    )


def bury(job: Claimed, reason: Reason = Reason.RETRIES_EXHAUSTED) -> s.Bury:
    """Return a settlement: no further attempt."""
    return s.Bury(id=job.id, fence=job.fence, outcome="failed", reason=reason)


def snooze(job: Claimed, delay_ms: int = 60_000) -> s.Snooze:
    """Return a settlement: not now."""
    return s.Snooze(id=job.id, fence=job.fence, outcome="snooze_asked", delay_ms=delay_ms)


def release(job: Claimed, need: str | None = None) -> s.Release:
    """Return a settlement: back to its place."""
    return s.Release(id=job.id, fence=job.fence, outcome="interrupted", need=need)


def discard(job: Claimed) -> s.Cancel:
    """Return a settlement: the task called itself pointless."""
    return s.Cancel(id=job.id, fence=job.fence, outcome="discarded", reason=Reason.DISCARDED)
