"""A broker with short ways for one queue: for tests of brokers, and for programs that they run."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence

import msgspec

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import SHARED, Claimed, JobSpec

#: The only queue of these actors.
QUEUE = "q"
#: Long enough that no lease of a test that works runs out.
LEASE_MS = 600_000


def say(*words: object) -> None:
    """Print one line and flush it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class PortActor:
    """A broker with short ways for one queue."""

    def __init__(self, broker: Broker) -> None:
        """Use this broker."""
        self.broker = broker
        self._ids = JobIdSource()

    def request(self) -> r.EnqueueRequest:
        """Return a request for one job."""
        tag = self.broker.register([QUEUE])[QUEUE]
        job_id = self._ids.draw(time.time_ns() // 1_000_000, tag, secrets.randbits(48))
        spec = JobSpec(task="task", payload=msgspec.Raw(b'{"text":"%s"}' % (b"x" * 100)))
        return r.EnqueueRequest(id=job_id, queue=QUEUE, spec=spec)

    def put(self, jobs: int = 1, *, durability: r.Durability | None = None) -> list[JobId]:
        """Enqueue jobs in one call and return their ids."""
        requests = [self.request() for _ in range(jobs)]
        answers = self.broker.enqueue(requests, durability=durability)
        return [answer.id for answer in answers if isinstance(answer, r.Accepted)]

    def lease(self) -> LeaseId:
        """Open a lease."""
        lease = LeaseId(secrets.token_hex(16))
        owner = r.Owner("worker", "host", "boot", 1, os.getpid(), 1)
        self.broker.open_lease(r.OpenLease(id=lease, queues=(QUEUE,), owner=owner, ttl_ms=LEASE_MS))
        return lease

    def claim_request(
        self, lease: LeaseId, limit: int, wake_token: str | None = None
    ) -> r.ClaimRequest:
        """Return a claim of the shared set."""
        return r.ClaimRequest(
            lease=lease,
            offers=(r.Offer(QUEUE, (SHARED,)),),
            limit=limit,
            fence=Fence(secrets.token_hex(16)),
            wake_token=wake_token,
        )

    def take(self, jobs: int) -> list[Claimed]:
        """Claim so many jobs, under a lease of their own."""
        taken = self.broker.claim(self.claim_request(self.lease(), limit=jobs)).jobs
        assert len(taken) == jobs
        return list(taken)


def completions(jobs: Sequence[Claimed], result: bytes = b"1") -> list[s.Settlement]:
    """Return settlements: all went well."""
    return [s.Complete(id=j.id, fence=j.fence, outcome="succeeded", result=result) for j in jobs]
