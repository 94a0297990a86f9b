"""One attempt of one job without a broker, in a child of the kind that a worker has.

The parts are a worker's own: what a job is given, how it is watched, ended and judged is not told
twice. What it enqueues goes into a broker in memory and ends with it; what it notes is told to
whoever asked for the replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from penstock.broker.clock import SystemClock
from penstock.broker.threaded import ThreadedBroker
from penstock.connect import connect
from penstock.core.job import Claimed
from penstock.core.manifest import AppManifest
from penstock.core.outcome import Interrupted, Outcome
from penstock.core.usage import Usage
from penstock.executors.process import Spawner
from penstock.worker.asks import Answer, Ask
from penstock.worker.pulse import Bell
from penstock.worker.wire import Noted

from .assembly import Frame, assemble
from .child_calls import ChildCalls
from .child_pool import ChildPool
from .crew import Crew
from .gpus import find_gpus
from .groups import Groups
from .link import BrokerLink
from .lone_attempt import LoneAttempt
from .memory_watch import MemoryWatch
from .orphans import Orphans, become_subreaper
from .parts import Parts
from .plan import WorkerPlan
from .settling import Verdict
from .startup import Start
from .stopping import Stopping


class Replayed(NamedTuple):
    """How it went.

    Attributes:
        outcome: how the attempt ended, as a worker would have judged it.
        usage: what it took; None: it did not begin.
        enqueued: jobs that it put in; none of them ran.
    """

    outcome: Outcome
    usage: Usage | None
    enqueued: int


async def replay(
    job: Claimed,
    *,
    plan: WorkerPlan,
    environ: Mapping[str, str],
    manifest: AppManifest,
    tell: Callable[[Noted], None],
) -> Replayed:
    """Run one attempt to its end. This process becomes the parent of what the job leaves behind.

    Like a worker it takes GPUs and memory only where other workers of this host leave them.

    Args:
        job: as a worker would have claimed it.
        plan: names the app and the settings.
        environ: what its child's environment is made from.
        manifest: of the app.
        tell: is told progress, checkpoints and log lines as they come.

    Raises:
        BadSetting: a setting breaks its rule; nothing was started.
    """
    become_subreaper()
    clock = SystemClock()
    broker = ThreadedBroker(connect("memory://", clock=clock))
    try:
        link = BrokerLink(broker, clock)
        settings = plan.settings(environ, manifest)
        groups = Groups.open(clock.boot_id) if settings.cgroups == "auto" else Groups()
        devices = await find_gpus(settings, environ)
        frame = Frame(plan, environ, Spawner(), Stopping())
        start = Start(settings, manifest, [], broker, groups, devices)
        parts = assemble(frame, start, link, await broker.describe(), cancel_token="")
        calls = _Calls(link, parts, tell)
        try:
            verdict = await _run(job, parts, calls)
        finally:
            parts.budget.leave_host()
    finally:
        await broker.close()
    outcome = Interrupted() if verdict is None else verdict.outcome
    return Replayed(outcome, None if verdict is None else verdict.usage, calls.enqueued)


async def _run(job: Claimed, parts: Parts, calls: ChildCalls) -> Verdict | None:
    ended: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        crew = Crew(group)
        pool = ChildPool(parts, crew, Bell())
        attempt = LoneAttempt(job, parts, pool, calls, crew)
        crew.keep("orphans", Orphans(parts.spawner).run)
        crew.keep("memory", MemoryWatch(lambda: [attempt]).run)
        try:
            attempt.begin(lambda _, verdict: ended.set_result(verdict))
            return await ended
        finally:
            await pool.destroy()
            crew.dismiss()


class _Calls(ChildCalls):
    """Answers a child whose job no broker knows.

    Attributes:
        enqueued: jobs that it put in.
    """

    def __init__(self, link: BrokerLink, parts: Parts, tell: Callable[[Noted], None]) -> None:
        super().__init__(link, parts.seal)
        self._tell = tell
        self.enqueued = 0

    async def note(self, job: Claimed, noted: Noted) -> bool:
        """Pass on what the job notes; there is no other worker that it could belong to."""
        del job
        self._tell(noted)
        return True

    async def answer(self, ask: Ask) -> Answer:
        """Answer from the broker in memory."""
        self.enqueued += len(ask.jobs)
        return await super().answer(ask)
