"""Puts jobs of a SQLite file into any state through the port, as a worker would, without one."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import msgspec

from penstock.broker import requests as r
from penstock.connect import connect, sqlite_url
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import SHARED, Charges, Claimed, JobSpec, Parent, Reason, StoredError
from penstock.core.usage import Usage

#: Milliseconds; longer than any test.
LEASE_TTL_MS = 600_000


class PortWorker:
    """One lease on one file. Close it, so that the file is let go of.

    Attributes:
        url: of the file, for `--url`.
        broker: the file's broker in this process.
    """

    def __init__(self, file: Path, *queues: str) -> None:
        """Open `file` and a lease for `queues`."""
        self.url = sqlite_url(file)
        self.broker = connect(self.url)
        self.queues = queues or ("default",)
        self.tags = self.broker.register(self.queues)
        self._ids = JobIdSource()
        self.lease = LeaseId(secrets.token_hex(16))
        owner = r.Owner("port@1-abc", "here", "boot", 0, os.getpid(), 0)
        self.broker.open_lease(
            r.OpenLease(id=self.lease, queues=self.queues, owner=owner, ttl_ms=LEASE_TTL_MS)
        )

    def close(self) -> None:
        """Let go of the file; the lease stays open."""
        self.broker.close()

    def enqueue(
        self,
        task: str = "shop.send",
        *,
        queue: str = "",
        after: tuple[JobId, ...] = (),
        delay_ms: int | None = None,
    ) -> JobId:
        """Enqueue a job with one argument, `n`."""
        request = self._request(task, queue=queue, after=after, delay_ms=delay_ms)
        [answer] = self.broker.enqueue([request])
        assert isinstance(answer, r.Accepted), answer
        return answer.id

    def enqueue_many(self, count: int) -> None:
        """Enqueue so many plain jobs, in as few calls as there can be."""
        requests = [self._request("shop.send") for _ in range(count)]
        for start in range(0, count, r.BATCH_MAX):
            self.broker.enqueue(requests[start : start + r.BATCH_MAX])

    def _request(
        self,
        task: str,
        *,
        queue: str = "",
        after: tuple[JobId, ...] = (),
        delay_ms: int | None = None,
    ) -> r.EnqueueRequest:
        name = queue or self.queues[0]
        job_id = self._ids.draw(time.time_ns() // 1_000_000, self.tags[name], secrets.randbits(48))
        return r.EnqueueRequest(
            id=job_id,
            queue=name,
            spec=JobSpec(task=task, payload=msgspec.Raw(b'{"n":7}')),
            delay_ms=delay_ms,
            parents=tuple(Parent(parent) for parent in after),
        )

    def claim(self) -> Claimed:
        """Claim the best job."""
        offers = tuple(r.Offer(queue, (SHARED,)) for queue in self.queues)
        fence = Fence(secrets.token_hex(16))
        answer = self.broker.claim(
            r.ClaimRequest(lease=self.lease, offers=offers, limit=1, fence=fence)
        )
        [job] = answer.jobs
        return job

    def complete(self, result: bytes = b'"done"', usage: Usage | None = None) -> JobId:
        """Claim the best job and complete it."""
        job = self.claim()
        self._settle(
            s.Complete(
                id=job.id,
                fence=job.fence,
                outcome="succeeded",
                pid=77,
                result=result,
                usage=usage,
            )
        )
        return job.id

    def bury(
        self, *, message: str = "no money", reason: Reason = Reason.RETRIES_EXHAUSTED
    ) -> JobId:
        """Claim the best job and bury it."""
        job = self.claim()
        error = StoredError("ValueError", message, "Traceback:\n  line 1\nValueError: " + message)
        self._settle(
            s.Bury(
                id=job.id,
                fence=job.fence,
                outcome="failed",
                pid=78,
                error=error,
                reason=reason,
                charges=Charges(errors=4),
            )
        )
        return job.id

    def _settle(self, settlement: s.Settlement) -> None:
        [applied] = self.broker.settle([settlement])
        assert applied is s.Applied.APPLIED, applied
