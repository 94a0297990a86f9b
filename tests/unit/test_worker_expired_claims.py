"""A claim whose answer is lost, under a lease that runs out before it is asked again.

The broker gives nothing under a lease that has run out, not even what it gave before; extended a
moment later the lease lives again, and what it gave would run under it for ever, unknown to all.
"""

from __future__ import annotations

import asyncio
import os

from penstock.broker import requests as r
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from penstock.core.outcome import Crashed
from penstock.errors import OutcomeUnknown
from penstock.testing.clock import ManualClock
from penstock.worker import wire
from penstock.worker.runner.service import Service
from penstock.worker.supervisor.claims import Claims
from penstock.worker.supervisor.link import BrokerLink
from tests.support.service_bench import ServiceBench, until
from tests.support.takeover_bench import ERROR, QUEUES, RUNNER_PID, TTL_MS, TakeoverBench

#: Milliseconds: every lease of these tests has run out after them.
_LONG_MS = 700_000


class Expiring(MemoryBroker):
    """A broker that loses its first answer with jobs in it, and is then away for long.

    The lease is extended once it has been found run out, as a supervisor does.
    """

    def __init__(self, clock: ManualClock, behind: MemoryBroker) -> None:
        """Stand before `behind`."""
        super().__init__(clock, store=behind.store)
        self.clock = clock
        self.has_lost = False

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Claim."""
        answer = super().claim(request)
        if answer.jobs and not self.has_lost:
            self.has_lost = True
            self.clock.advance(_LONG_MS)
            raise OutcomeUnknown("the answer is lost by the test: call again")
        if not answer.lease_open:
            self.extend([request.lease], ttl_ms=TTL_MS)
        return answer

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over."""
        answer = super().reclaim(request)
        if answer.jobs and not self.has_lost:
            self.has_lost = True
            self.clock.advance(_LONG_MS)
            raise OutcomeUnknown("the answer is lost by the test: call again")
        return answer


def test_a_runner_runs_what_its_claim_took() -> None:
    """The claim is made again until its lease is open, and its job is run."""
    clock = ManualClock()
    bench = ServiceBench(MemoryBroker(clock))
    assert isinstance(bench.store, MemoryBroker)
    broker = Expiring(clock, bench.store)

    @bench.app.task(name="once")
    async def once() -> int:
        return 7

    job = once.enqueue()

    async def beside(service: Service) -> None:
        await until(lambda: bench.record(job.id).state is State.COMPLETED)
        service.take_in(wire.Drain(1_000))

    assert bench.run(beside, faulty=broker)
    assert broker.has_lost
    assert len(bench.record(job.id).attempts) == 1


def test_a_supervisor_runs_what_its_claim_took() -> None:
    """The claim for children stays open until it finds its lease open."""

    async def main() -> tuple[JobId, list[JobId]]:
        bench = TakeoverBench()
        await bench.open_own()
        job = bench.enqueue("alone")
        link = BrokerLink(ThreadedBroker(Expiring(bench.clock, bench.store)), bench.clock)
        claims = Claims(link, bench.leases, QUEUES, poll_ms=100, wake_token=None)
        await claims.look()
        claims.leave(claims.draw(claims.sets, 1))
        taken: list[JobId] = []
        for _ in range(3):
            for claim in list(claims.left):
                try:
                    taken += [one.id for one in (await claims.ask(claim)).jobs]
                except OutcomeUnknown:
                    assert claims.left == [claim]
        assert not claims.open
        await link.broker.close()
        await bench.link.broker.close()
        return job, taken

    job, taken = asyncio.run(main())
    assert taken == [job]


def test_a_supervisor_settles_what_it_took_over() -> None:
    """The takeover is made again under an extended lease, and its job is settled."""

    async def main() -> None:
        bench = TakeoverBench()
        bench.reclaim._link = BrokerLink(
            ThreadedBroker(Expiring(bench.clock, bench.store)), bench.clock
        )
        await bench.leases.open_own(bench.identity.owner(os.getpid()), bench.holder)
        lease, job = bench.run_elsewhere(bench.owner(RUNNER_PID))
        crashed = Crashed(ERROR, alone=False)
        await bench.reclaim.after_death(RUNNER_PID, [lease], lambda _job: crashed)
        assert bench.state(job)[:2] == (State.QUEUED, "crashed")
        await bench.reclaim._link.broker.close()
        await bench.link.broker.close()

    asyncio.run(main())
