"""What claims for children, around a broker in memory and real children."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.broker import requests as r
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId, JobIdSource
from penstock.core.job import ALONE, JobRecord, JobSpec
from penstock.core.lifecycle import FINAL
from penstock.executors.process import Spawner
from penstock.serializers.sealing import Seal
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.budget import Budget
from penstock.worker.supervisor.cancels import Cancels
from penstock.worker.supervisor.child_pool import ChildPool
from penstock.worker.supervisor.children import Children
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.identity import Identity
from penstock.worker.supervisor.leases import Leases
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.parts import Parts
from penstock.worker.supervisor.plan import WorkerPlan
from penstock.worker.supervisor.pressure import Pressure
from penstock.worker.supervisor.profiles import Profiles
from penstock.worker.supervisor.reclaim import Reclaim
from penstock.worker.supervisor.runners import Runners
from penstock.worker.supervisor.settling import Settler
from penstock.worker.supervisor.slots import Slots
from penstock.worker.supervisor.stopping import Stopping
from penstock.worker.supervisor.task_facts import Tasks
from tests.support import supervised_app as tasks
from tests.support.supervised import APP, SOON_S, TIMERS, TRACE_ENV

TTL_MS: Final = 60_000


class ChildrenBench:
    """The parts around `Children`; `slots` children at most run at once."""

    def __init__(
        self, folder: Path, crew: Crew, store: MemoryBroker, clock: ManualClock, slots: int = 1
    ) -> None:
        """Make the parts; nothing is claimed yet."""
        self.clock = clock
        self.store = store
        self._slots = slots
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
        profiles = Profiles(self.link, tasks)
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
                tasks=tasks,
                identity=identity,
                queues=settings.queues,
                leases=leases,
                lease_ttl_ms=TTL_MS,
                interval_ms=200,
            ),
            slots=Slots(self._slots),
            budget=Budget(settings.memory, tasks, profiles),
            pressure=Pressure(0),
            profiles=profiles,
            seal=Seal(settings.secret_keys),
        )

    async def open_lease(self) -> None:
        """Open the lease under which is claimed."""
        await self.parts.leases.open_own(self.parts.identity.owner(os.getpid()), self.children)

    async def close(self, crew: Crew) -> None:
        """End the children, the tasks and the broker's thread."""
        crew.dismiss()
        await self.pool.destroy()
        await self.link.broker.close()

    async def until(self, is_so: Callable[[], object]) -> None:
        """Return once `is_so` holds; what it looks at is told by no event.

        The loop rests in between, or it keeps the broker's thread from the interpreter.

        Raises:
            TimeoutError: it never did.
        """
        async with asyncio.timeout(SOON_S):
            while True:
                if is_so():
                    return
                await asyncio.sleep(0.001)

    async def until_final(self, jobs: Sequence[JobId]) -> None:
        """Return once every job is final.

        Raises:
            TimeoutError: not all were in time.
        """
        await self.until(lambda: all(one and one.state in FINAL for one in self.store.peek(jobs)))

    def enqueue_lone(self, payload: bytes = b"{}", task: str = tasks.lone.name) -> JobId:
        """Enqueue a job that runs alone: a task of `supervised_app`."""
        (queue,) = self.parts.settings.queues
        tag = self.store.register([queue])[queue]
        job_id = JobIdSource().draw(self.clock.wall_ms(), tag, secrets.randbits(48))
        spec = JobSpec(task=task, payload=msgspec.Raw(payload))
        spec = msgspec.structs.replace(spec, need=ALONE)
        self.store.enqueue([r.EnqueueRequest(id=job_id, queue=queue, spec=spec)])
        return job_id

    def record(self, job_id: JobId) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.store.get(job_id)
        assert record is not None
        return record
