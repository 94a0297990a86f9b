"""A worker reduced to its calls on the port, for faults that are aimed at single calls.

It claims, "runs" a job by writing its history, settles what `decide` says, extends its lease and
reclaims what others lost: one turn after the other, in the calling thread.
"""

from __future__ import annotations

import os
import secrets

import msgspec

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core import outcome as o
from penstock.core.decision import decide
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import ALONE, SHARED, Claimed, JobSpec, StoredError
from penstock.core.need import runs_alone
from penstock.core.retry import Backoff, RetryPolicy
from penstock.core.settlement import Settlement
from tests.support import history as h

QUEUE = "mini"
POLICY = RetryPolicy(backoff=Backoff(base_ms=1, cap_ms=5))


def hex_128() -> str:
    """Return 128 random bits."""
    return secrets.token_hex(16)


class MiniProducer:
    """Enqueues jobs that fail in their first runs as asked."""

    def __init__(self, broker: Broker, history: h.History) -> None:
        """Learn the queue's tag."""
        self.broker = broker
        self.history = history
        self.ids = JobIdSource()
        self.tag = broker.register([QUEUE])[QUEUE]

    def request(self, *, fails: int = 0, key: str | None = None) -> r.EnqueueRequest:
        """Return a request that is not sent yet."""
        now_ms = h.boot_ns() // 1_000_000
        payload = msgspec.Raw(msgspec.json.encode({"fails": fails}))
        return r.EnqueueRequest(
            id=self.ids.draw(now_ms, self.tag, secrets.randbits(48)),
            queue=QUEUE,
            spec=JobSpec(task="mini", payload=payload, key=key),
            key_digest=None if key is None else str(fails),
        )

    def send(self, *requests: r.EnqueueRequest) -> list[JobId]:
        """Enqueue and write the answers down; errors go to the caller."""
        answers = self.broker.enqueue(requests)
        accepted = []
        for request, answer in zip(requests, answers, strict=True):
            key = request.spec.key
            if isinstance(answer, r.Refused):
                self.history.append(h.EnqueueFailed(job=request.id, kind="definite", key=key))
                continue
            event = h.Accepted(
                job=answer.id,
                key=key,
                digest=request.key_digest,
                durability=str(answer.durability),
                duplicate=answer.duplicate,
            )
            self.history.append(event)
            accepted.append(answer.id)
        return accepted


class MiniWorker:
    """One turn = claim and run a batch, settle it, reclaim and settle what was lost."""

    def __init__(self, broker: Broker, history: h.History, *, lease_ttl_ms: int = 400) -> None:
        """Hold no lease yet."""
        self.broker = broker
        self.history = history
        self.lease_ttl_ms = lease_ttl_ms
        self.lease = LeaseId("")
        self.fence = Fence("")

    def open(self) -> None:
        """Open a new lease."""
        self.lease = LeaseId(hex_128())
        owner = r.Owner("mini", "here", "boot", 0, os.getpid(), 0)
        lease = r.OpenLease(id=self.lease, queues=(QUEUE,), owner=owner, ttl_ms=self.lease_ttl_ms)
        self.broker.open_lease(lease)

    def extend(self) -> None:
        """Extend the lease, or draw a new one if it was lost."""
        if not self.lease or self.broker.extend([self.lease], ttl_ms=self.lease_ttl_ms).lost:
            self.open()

    def turn(self, limit: int = 10) -> int:
        """Do one round and return how many jobs were run."""
        self.extend()
        jobs = self.claim(limit)
        self.settle([self.run(job) for job in jobs])
        self.reclaim()
        return len(jobs)

    def claim(self, limit: int) -> tuple[Claimed, ...]:
        """Claim under a new fence."""
        self.fence = Fence(hex_128())
        request = r.ClaimRequest(
            lease=self.lease,
            offers=(r.Offer(QUEUE, (SHARED, ALONE)),),
            limit=limit,
            fence=self.fence,
        )
        return self.broker.claim(request).jobs

    def run(self, job: Claimed) -> Settlement:
        """Play user code: start, progress, effect, end."""
        pid = os.getpid()
        fails = msgspec.json.decode(job.spec.payload)["fails"]
        self.history.append(h.Started(job=job.id, attempt=job.claim_number, pid=pid))
        progress = msgspec.Raw(msgspec.json.encode({"attempt": job.claim_number}))
        if self.broker.note([r.Note(id=job.id, fence=job.fence, progress=progress)])[0]:
            self.history.append(h.Noted(job=job.id, attempt=job.claim_number))
        outcome: o.Outcome
        if job.charges.errors < fails:
            outcome, how = o.Failed(StoredError("AskedToFail", "asked to fail")), "AskedToFail"
        else:
            self.history.append(h.SideEffect(job=job.id, attempt=job.claim_number, pid=pid))
            outcome, how = o.Succeeded(bytes(progress)), "returned"
        self.history.append(h.Ended(job=job.id, attempt=job.claim_number, pid=pid, how=how))
        return decide(job, outcome, policy=POLICY, random_unit=0.5, pid=pid)

    def settle(self, settlements: list[Settlement]) -> None:
        """Settle, if there is anything."""
        if settlements:
            self.broker.settle(settlements)

    def reclaim(self) -> None:
        """Take over what others lost, and settle it as lost."""
        request = r.ReclaimRequest(
            lease=self.lease,
            queues=(QUEUE,),
            fence=Fence(hex_128()),
            limit=100,
            lease_ttl_ms=self.lease_ttl_ms,
        )
        lost = []
        for job in self.broker.reclaim(request).jobs:
            error = StoredError("lost", "its process is gone")
            outcome = o.Lost(error=error, alone=runs_alone(job.spec, job.charges))
            lost.append(decide(job, outcome, policy=POLICY, random_unit=0.5, pid=job.pid))
        self.settle(lost)

    def close(self) -> None:
        """Close the lease."""
        self.broker.close_leases([self.lease])
