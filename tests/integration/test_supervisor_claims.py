"""What is under way while the worker is told to end: a claim for children, a runner's start."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId, JobIdSource
from penstock.core.job import ALONE, Charges, JobRecord, JobSpec
from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown
from penstock.executors.process import Spawner
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.cancels import Cancels
from penstock.worker.supervisor.channel import kill_if_deaf
from penstock.worker.supervisor.child_pool import ChildPool
from penstock.worker.supervisor.children import Children
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.identity import Identity
from penstock.worker.supervisor.leases import Leases
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.parts import Parts
from penstock.worker.supervisor.plan import WorkerPlan
from penstock.worker.supervisor.reclaim import Reclaim
from penstock.worker.supervisor.runner_process import End
from penstock.worker.supervisor.runners import Runners
from penstock.worker.supervisor.settling import Settler
from penstock.worker.supervisor.slots import Slots
from penstock.worker.supervisor.stopping import Stopping
from penstock.worker.supervisor.task_facts import Tasks
from tests.support.supervised import APP, SOON_S, TIMERS, TRACE_ENV

TTL_MS = 60_000


class HeldClaims(MemoryBroker):
    """A broker in memory whose answer to a claim that took something is held, and then lost.

    Attributes:
        has_taken: set once a claim took a job.
        may_answer: to be set by the test.
        loses: how many answers are lost after that.
        on_open: called after each lease that was opened.
    """

    def __init__(self, clock: ManualClock, loses: int) -> None:
        """Hold every claim that takes something."""
        super().__init__(clock)
        self.has_taken = threading.Event()
        self.may_answer = threading.Event()
        self.loses = loses
        self.on_open: Callable[[], object] = lambda: None

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open it, and say so."""
        super().open_lease(lease)
        self.on_open()

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Claim; answer once allowed."""
        answer = super().claim(request)
        if answer.jobs:
            self.has_taken.set()
            assert self.may_answer.wait(SOON_S), "the test never allowed an answer"
            if self.loses:
                self.loses -= 1
                raise OutcomeUnknown("the answer is lost by the test: call again")
        return answer


class Bench:
    """What claims for children, around a broker in memory and real children."""

    def __init__(self, folder: Path, crew: Crew, loses: int) -> None:
        """Make the parts; nothing is claimed yet."""
        self.clock = ManualClock()
        self.store = HeldClaims(self.clock, loses)
        self.trace = folder / "trace"
        self.stopping = Stopping()
        self.link = BrokerLink(ThreadedBroker(self.store), self.clock)
        self.parts = self._parts()
        self.runners = Runners(self.parts, crew)
        self.pool = ChildPool(self.parts, crew, self.runners.yielded_bell)
        self.children = Children(self.parts, self.runners, self.pool, crew, wake_token=None)

    def _parts(self) -> Parts:
        environ = {**os.environ, TRACE_ENV: str(self.trace)}
        plan = WorkerPlan(app=APP, flags={**TIMERS, "url": "sqlite:///nowhere.db"})
        settings = plan.settings(environ)
        identity = Identity("me@1-a", "here", self.clock.boot_id, 7)
        tasks = Tasks()
        settler = Settler(self.link, tasks)
        leases = Leases(
            self.link,
            queues=settings.queues,
            ttl_ms=TTL_MS,
            extend_ms=1_000,
            cancels=Cancels(50),
            wake_token=None,
        )
        return Parts(
            plan=plan,
            settings=settings,
            environ=environ,
            identity=identity,
            spawner=Spawner(),
            stopping=self.stopping,
            link=self.link,
            broker=self.store.describe(),
            tasks=tasks,
            settler=settler,
            leases=leases,
            reclaim=Reclaim(
                self.link,
                settler,
                identity=identity,
                queues=settings.queues,
                leases=leases,
                lease_ttl_ms=TTL_MS,
                interval_ms=200,
            ),
            slots=Slots(1),
        )

    def enqueue_lone(self) -> JobId:
        """Enqueue a job that runs alone and writes a line into the trace when it begins."""
        (queue,) = self.parts.settings.queues
        tag = self.store.register([queue])[queue]
        job_id = JobIdSource().draw(self.clock.wall_ms(), tag, secrets.randbits(48))
        spec = JobSpec(task="tests.support.supervised_app:lone", payload=msgspec.Raw(b"{}"))
        spec = msgspec.structs.replace(spec, need=ALONE)
        self.store.enqueue([r.EnqueueRequest(id=job_id, queue=queue, spec=spec)])
        return job_id

    def record(self, job_id: JobId) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.store.get(job_id)
        assert record is not None
        return record


@pytest.mark.parametrize("loses", [0, 1, 2])
def test_what_a_claim_took_goes_back_when_the_worker_ends(tmp_path: Path, loses: int) -> None:
    """A job that is claimed while the drain begins is released uncharged; no child sees it."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            bench = Bench(tmp_path, crew, loses)
            await bench.parts.leases.open_own(
                bench.parts.identity.owner(os.getpid()), bench.children
            )
            job_id = bench.enqueue_lone()
            crew.keep("claims", bench.children.run)
            assert await asyncio.to_thread(bench.store.has_taken.wait, SOON_S)
            bench.stopping.request("the test")
            draining = asyncio.create_task(bench.children.drain(60_000))
            # Its first look comes while the claim is under way.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            bench.store.may_answer.set()
            async with asyncio.timeout(SOON_S):
                await draining
            record = bench.record(job_id)
            assert record.state is State.QUEUED, record
            assert record.charges == Charges(), record
            assert [one.outcome for one in record.attempts] == ["interrupted"], record
            assert not bench.trace.exists(), bench.trace.read_text()
            await bench.pool.destroy()
            crew.dismiss()
            await bench.link.broker.close()

    asyncio.run(main())


@pytest.mark.parametrize("moment", ["spawned", "introduced"])
def test_a_runner_that_comes_up_as_the_drain_begins_is_ended(tmp_path: Path, moment: str) -> None:
    """It claims nothing: it is not told to start, and counts as stopped."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            bench = Bench(tmp_path, crew, 0)

            def stop() -> None:
                loop.call_soon_threadsafe(bench.stopping.request, "the test")

            if moment == "spawned":
                bench.stopping.request("the test")
            else:
                bench.store.on_open = stop
            runner = await bench.runners.start()
            assert runner is not None
            async with asyncio.timeout(SOON_S):
                while bench.runners.all:
                    await bench.runners.ended_bell.sleep()
            assert runner.end is End.STOPPED
            assert runner.lease is None, "it was told to start"
            assert bench.store.leases() == []
            crew.dismiss()
            await bench.link.broker.close()

    asyncio.run(main())


def test_a_process_that_nobody_hears_is_killed() -> None:
    """A listener that fails kills what it listened to; one that ends or is cancelled does not."""

    async def main() -> None:
        killed: list[str] = []

        async def fails() -> None:
            raise ValueError("a message that nobody foresaw")

        async def ends() -> None:
            return

        for name, listen in (("fails", fails), ("ends", ends)):
            listening = asyncio.create_task(listen())
            kill_if_deaf(listening, name, partial(killed.append, name))
            await asyncio.wait([listening])
        cancelled = asyncio.create_task(asyncio.sleep(SOON_S, None))
        kill_if_deaf(cancelled, "cancelled", partial(killed.append, "cancelled"))
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await asyncio.sleep(0)
        assert killed == ["fails"]

    asyncio.run(main())
