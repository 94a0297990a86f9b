"""A supervisor's parts around a broker in memory, without processes."""

from __future__ import annotations

import os
import secrets

import msgspec

from penstock.broker import requests as r
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import AttemptKey, Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import SHARED, Claimed, JobSpec, StoredError
from penstock.core.lifecycle import State
from penstock.testing.clock import ManualClock
from penstock.testing.faulty import Fault, FaultyBroker, Plan
from penstock.worker.supervisor.cancels import Cancels
from penstock.worker.supervisor.identity import Identity
from penstock.worker.supervisor.leases import Leases, draw_lease
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.reclaim import Reclaim
from penstock.worker.supervisor.settling import Settler
from penstock.worker.supervisor.task_facts import Tasks

TTL_MS = 12_000
QUEUES = ("q",)
RUNNER_PID = 4_000_000
ERROR = StoredError("crashed", "it died")


class Recorder:
    """A lease holder that keeps what it is told."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self.renewals: list[tuple[LeaseId, LeaseId]] = []
        self.extensions: list[tuple[LeaseId, int]] = []
        self.cancelled: list[AttemptKey] = []
        self.overran: list[AttemptKey] = []

    def renewed(self, lease: LeaseId, lost: LeaseId) -> None:
        """Keep the renewal."""
        self.renewals.append((lease, lost))

    def extended(self, lease: LeaseId, runs_out_ms: int) -> None:
        """Keep until when the lease holds."""
        self.extensions.append((lease, runs_out_ms))

    def cancel(self, jobs: tuple[AttemptKey, ...]) -> None:
        """Keep the cancels."""
        self.cancelled += jobs

    def overrun(self, jobs: tuple[AttemptKey, ...]) -> None:
        """Keep the overruns."""
        self.overran += jobs


class TakeoverBench:
    """A supervisor's parts around a broker in memory, without processes."""

    def __init__(self, plan: Plan = lambda _call: Fault.NONE) -> None:
        """Make the parts; `plan` decides which calls of the supervisor fail."""
        self.clock = ManualClock()
        self.store = MemoryBroker(self.clock)
        self.faulty = FaultyBroker(self.store, plan)
        self.link = BrokerLink(ThreadedBroker(self.faulty), self.clock)
        self.identity = Identity("me@1-a", "here", self.clock.boot_id, 7)
        self.tasks = Tasks()
        self.settler = Settler(self.link, self.tasks)
        self.leases = Leases(
            self.link,
            queues=QUEUES,
            ttl_ms=TTL_MS,
            extend_ms=20,
            cancels=Cancels(50),
            wake_token=None,
        )
        self.reclaim = Reclaim(
            self.link,
            self.settler,
            tasks=self.tasks,
            identity=self.identity,
            queues=QUEUES,
            leases=self.leases,
            lease_ttl_ms=TTL_MS,
            interval_ms=10,
        )
        self.tag = self.store.register(QUEUES)["q"]
        self.ids = JobIdSource()
        self.holder = Recorder()

    def owner(self, pid: int, worker: str = "me@1-a") -> r.Owner:
        """Return an owner of this host."""
        return r.Owner(worker, "here", self.clock.boot_id, 7, pid, 1)

    async def open_own(self) -> None:
        """Open the supervisor's lease."""
        await self.leases.open_own(self.identity.owner(os.getpid()), self.holder)

    def enqueue(self, need: str = SHARED, delay_ms: int | None = None) -> JobId:
        """Enqueue a job."""
        job_id = self.ids.draw(self.clock.wall_ms(), self.tag, secrets.randbits(48))
        spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), need=need)
        self.store.enqueue([r.EnqueueRequest(id=job_id, queue="q", spec=spec, delay_ms=delay_ms)])
        return job_id

    def run_elsewhere(self, owner: r.Owner, need: str = SHARED) -> tuple[LeaseId, Claimed]:
        """Let `owner` open a lease and claim a new job under it."""
        self.enqueue(need)
        job = self.claim_elsewhere(owner, need)
        return job.lease, job

    def claim_elsewhere(self, owner: r.Owner, need: str) -> Claimed:
        """Let `owner` open a lease and claim the job that waits."""
        lease = draw_lease()
        self.store.open_lease(r.OpenLease(id=lease, queues=QUEUES, owner=owner, ttl_ms=TTL_MS))
        request = r.ClaimRequest(
            lease=lease,
            offers=(r.Offer("q", (need,)),),
            limit=1,
            fence=Fence(secrets.token_hex(16)),
        )
        (job,) = self.store.claim(request).jobs
        return job

    def state(self, job: Claimed) -> tuple[State, str | None, bool, bool]:
        """Return (state, last outcome, lost, suspect) of a job."""
        record = self.store.get(job.id)
        assert record is not None
        charges = record.charges
        return record.state, record.attempts[-1].outcome, charges.lost, charges.suspect
