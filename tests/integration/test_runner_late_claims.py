"""A runner whose claim is answered after its lease was lost, or ran out: nothing begins."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock import Job
from penstock.broker import requests as r
from penstock.broker.clock import SystemClock
from penstock.broker.threaded import ThreadedBroker
from penstock.core import settlement as s
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import NO_CHARGES
from penstock.core.lifecycle import State
from penstock.worker import wire
from penstock.worker.runner.service import Service
from tests.support.service_bench import ServiceBench, until
from tests.support.steered_broker import SteeredBroker, SteeredCall, steered

#: Milliseconds: longer than any test.
LONG_MS = 600_000


class Scene:
    """A service whose claims are held up on their way back, and jobs that count their starts.

    Attributes:
        starts: numbers of the jobs that began.
        broker: the service's, steered by the test.
    """

    def __init__(self, *, is_async: bool) -> None:
        self.bench = ServiceBench()
        self.starts: list[int] = []
        self.clock = SystemClock()

        def begin(number: int) -> int:
            self.starts.append(number)
            return number

        async def abegin(number: int) -> int:
            return begin(number)

        self._task = self.bench.app.task(name="begin")(abegin if is_async else begin)

    def run(self, act: Callable[[Scene, Service], Awaitable[None]]) -> None:
        """Run a service beside `act`, then let it drain."""

        def face() -> SteeredBroker:
            self.broker = SteeredBroker(ThreadedBroker(self.bench.store))
            return self.broker

        async def beside(service: Service) -> None:
            await act(self, service)
            service.take_in(wire.Drain(5_000))

        self.bench.run(beside, face=lambda: steered(face()), poll_ms=50)

    async def claimed(self, service: Service) -> tuple[Job[Any], SteeredCall]:
        """Enqueue a job and return it with the call that has claimed it, which is held up."""
        held: list[SteeredCall] = []

        async def hold(call: SteeredCall) -> None:
            if call.verb in ("claim", "cycle") and call.jobs:
                held.append(call)
                await call.go_on.wait()

        await until(lambda: self.broker.calls)
        self.broker.after = hold
        (job,) = self.bench.app.enqueue_many([self._task.call(7)])
        service.pump.look_again()
        await until(lambda: held)
        return job, held[0]

    def extended(self, service: Service, by_ms: int) -> None:
        """Tell the service how long its lease is sure to hold."""
        service.take_in(wire.Extended(service.pump.lease, self.clock.boot_ms() + by_ms))

    def state(self, job: Job[Any]) -> State:
        """Return the state of a job."""
        return self.bench.record(job.id).state


def take_over(scene: Scene, lost: LeaseId) -> LeaseId:
    """Close a lease, let another worker take its jobs over, and return a lease to go on under."""
    store = scene.bench.store
    other = scene.bench.open_lease()
    store.close_leases([lost])
    request = r.ReclaimRequest(
        lease=other, queues=("default",), fence=Fence(secrets.token_hex(16)), limit=100,
        lease_ttl_ms=1_000,
    )  # fmt: skip
    taken = store.reclaim(request).jobs
    assert taken
    done = [
        s.Complete(id=one.id, fence=one.fence, outcome="succeeded", result=None) for one in taken
    ]
    assert set(store.settle(done)) == {s.Applied.APPLIED}
    return scene.bench.open_lease()


@pytest.mark.parametrize("is_async", [False, True])
def test_jobs_of_a_lost_lease_do_not_begin(*, is_async: bool) -> None:
    """They have run elsewhere by the time the answer comes; here user code does not run at all."""

    async def act(scene: Scene, service: Service) -> None:
        job, call = await scene.claimed(service)
        lost = service.pump.lease
        lease = await asyncio.to_thread(take_over, scene, lost)
        service.take_in(wire.Renew(lease=lease, lost=lost))
        call.go_on.set()
        await until(lambda: not call.is_under_way and service.pump.is_at_rest)
        assert scene.starts == []
        assert scene.state(job) is State.COMPLETED
        assert len(scene.bench.record(job.id).attempts) == 1

    Scene(is_async=is_async).run(act)


@pytest.mark.parametrize("is_async", [False, True])
def test_jobs_of_a_lease_that_must_have_run_out_do_not_begin(*, is_async: bool) -> None:
    """They go back uncharged, nothing is claimed until the lease is extended, then they run."""

    async def act(scene: Scene, service: Service) -> None:
        scene.extended(service, LONG_MS)
        job, call = await scene.claimed(service)
        scene.extended(service, 0)
        call.go_on.set()
        await until(lambda: scene.state(job) is State.QUEUED)
        assert scene.starts == []
        record = scene.bench.record(job.id)
        assert (record.attempts[0].outcome, record.charges) == ("interrupted", NO_CHARGES)
        # Its slow poll comes, and claims nothing.
        claims = len(scene.broker.calls)
        await asyncio.sleep(0.3)
        assert len(scene.broker.calls) == claims
        scene.broker.after = _pass
        scene.extended(service, LONG_MS)
        await until(lambda: scene.state(job) is State.COMPLETED)
        assert scene.starts == [7]

    Scene(is_async=is_async).run(act)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_late_answer_is_good_while_the_lease_is_extended(*, is_async: bool) -> None:
    """However late: as long as the supervisor extends, the jobs of a claim are the runner's."""

    async def act(scene: Scene, service: Service) -> None:
        scene.extended(service, 50)
        job, call = await scene.claimed(service)
        await until(lambda: not service.grip.holds(service.pump.lease))
        scene.extended(service, LONG_MS)
        call.go_on.set()
        await until(lambda: scene.state(job) is State.COMPLETED)
        assert scene.starts == [7]

    Scene(is_async=is_async).run(act)


async def _pass(_call: SteeredCall) -> None:
    return
