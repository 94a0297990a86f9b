"""Jobs in children whose broker is out of reach: which are killed, when, and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import Fence, JobId
from penstock.core.job import NO_CHARGES, JobRecord
from penstock.core.lifecycle import State
from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.partition import OnPartition, margin_ms
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Applied, Settlement
from penstock.errors import Unavailable
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.identity import Identity
from penstock.worker.supervisor.leases import draw_lease
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.children_bench import TTL_MS, ChildrenBench
from tests.support.supervised import wait_gone

#: Milliseconds after the last extension at which an exclusive job is killed.
ENDS_MS = TTL_MS - margin_ms(TTL_MS)
#: Looks at the clock by the loop that kills, in which it has to leave jobs alone.
LOOKS_S = 0.5


class Scene:
    """Children of a supervisor whose lease is extended only when the test says so.

    Attributes:
        bench: see there; its clock is the test's.
    """

    def __init__(self, folder: Path, crew: Crew, on_partition: OnPartition) -> None:
        """Let the lone tasks of `supervised_app` be killed or not."""
        self.crew = crew
        self.bench = ChildrenBench(folder, crew, MemoryBroker(clock := ManualClock()), clock)
        facts = [
            TaskFacts(
                name=one.name, queue="default", policy=POLICY_DEFAULT, isolated=True,
                on_partition=on_partition,
            )
            for one in (tasks.lone, tasks.lone_leaves)
        ]  # fmt: skip
        self.bench.parts.tasks.learn(
            AppManifest(url="memory://", tasks=tuple(facts), queues=("default",))
        )

    async def begin(self, payload: bytes, task: str = tasks.lone.name) -> tuple[JobId, int]:
        """Run a job; return it and the pid of its child, once it runs."""
        await self.bench.open_lease()
        job = self.bench.enqueue_lone(payload, task)
        self.crew.keep("claims", self.bench.children.run)
        self.crew.keep("cut off", self.bench.children.cut_off.run)
        trace = self.bench.trace
        word = "-started" if task == tasks.lone_leaves.name else ""
        await self.bench.until(lambda: trace.exists() and f"job{word} " in trace.read_text())
        child = self.bench.children.attempts[job].child
        assert child is not None
        return job, child.pid

    async def extend(self) -> None:
        """Extend the lease once."""
        runs = asyncio.create_task(self.bench.parts.leases.run())
        own = self.bench.parts.leases.own
        ends_ms = self.bench.clock.boot_ms() + TTL_MS
        await self.bench.until(lambda: self.bench.parts.leases.runs_out_ms(own) == ends_ms)
        runs.cancel()

    async def settled(self, job: JobId) -> JobRecord:
        """Return the record of a job whose first attempt is over."""

        def look() -> bool:
            attempts = self.bench.record(job).attempts
            return bool(attempts) and attempts[0].outcome is not None

        await self.bench.until(look)
        return self.bench.record(job)

    async def none_left(self) -> None:
        """Return once no attempt is under way."""
        await self.bench.until(lambda: not self.bench.children.attempts)


def play(
    folder: Path, act: Callable[[Scene], Awaitable[None]], on_partition: OnPartition = "kill"
) -> None:
    """Run one scene to its end."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            scene = Scene(folder, crew, on_partition)
            await act(scene)
            assert crew.failures == 0
            await scene.bench.close(crew)

    asyncio.run(main())


def test_an_exclusive_job_is_killed_when_its_lease_is_about_to_run_out(tmp_path: Path) -> None:
    """Not before; with all it started; its job is claimable again, and nothing is charged."""

    async def act(scene: Scene) -> None:
        job, pid = await scene.begin(b'{"seconds":600.0,"name":"job"}', tasks.lone_leaves.name)
        tree = [pid, *processes.descendants(pid)]
        assert len(tree) > 1, "nothing was started below the child"
        scene.bench.clock.advance(ENDS_MS - 1)
        await asyncio.sleep(LOOKS_S)
        assert processes.is_alive(pid)
        scene.bench.clock.advance(1)
        record = await scene.settled(job)
        wait_gone(*tree, state=lambda: scene.bench.record(job))
        assert record.attempts[0].outcome == "interrupted"
        assert record.charges == NO_CHARGES
        assert record.attempts[0].error is not None
        assert "out of reach" in record.attempts[0].error.message
        assert scene.bench.store.counts()[0].queued == 1
        # Nothing is claimed under a lease that holds no longer for sure, and all is as it was.
        await scene.none_left()
        await scene.extend()
        await scene.bench.until(lambda: len(scene.bench.record(job).attempts) == 2)

    play(tmp_path, act)


def test_an_extension_gives_an_exclusive_job_its_time_again(tmp_path: Path) -> None:
    """The end is counted from the last extension, however often the first end has passed."""

    async def act(scene: Scene) -> None:
        job, pid = await scene.begin(b'{"seconds":600.0,"name":"job"}')
        for _ in range(3):
            scene.bench.clock.advance(ENDS_MS - 1)
            await scene.extend()
        await asyncio.sleep(LOOKS_S)
        assert processes.is_alive(pid)
        scene.bench.clock.advance(ENDS_MS)
        assert (await scene.settled(job)).attempts[0].outcome == "interrupted"

    play(tmp_path, act)


def test_other_jobs_go_on_while_the_lease_runs_out(tmp_path: Path) -> None:
    """By default a job runs to its end, and where nobody has taken it over its result counts."""

    async def act(scene: Scene) -> None:
        job, pid = await scene.begin(b'{"seconds":2.0,"name":"job"}')
        scene.bench.clock.advance(10 * TTL_MS)
        record = await scene.settled(job)
        assert (record.state, record.attempts[0].pid) == (State.COMPLETED, pid)

    play(tmp_path, act, "continue")


def test_a_job_that_was_taken_over_is_not_settled_by_the_one_that_was_killed(
    tmp_path: Path,
) -> None:
    """What the cut off worker says comes under an old fence: the job stays the other one's."""

    async def act(scene: Scene) -> None:
        job, _ = await scene.begin(b'{"seconds":600.0,"name":"job"}')
        bench = scene.bench
        settle = bench.store.settle
        bench.store.settle = refuse  # type: ignore[method-assign]
        bench.clock.advance(TTL_MS)
        (attempt,) = bench.children.attempts.values()
        await bench.until(lambda: attempt.child is None)
        # A gap: reapers hold for one lease, from their first look.
        other = draw_lease()
        owner = Identity("other@1-b", "there", bench.clock.boot_id, 8).owner(1)
        queues = bench.parts.settings.queues
        bench.store.open_lease(r.OpenLease(id=other, queues=queues, owner=owner, ttl_ms=9 * TTL_MS))
        take = r.ReclaimRequest(
            lease=other, queues=queues, fence=Fence("ab" * 16), limit=1, lease_ttl_ms=TTL_MS
        )
        for _ in range(3):
            bench.store.reclaim(take)
            bench.clock.advance(TTL_MS // 2)
        assert bench.store.reclaim(take).jobs
        bench.store.settle = settle  # type: ignore[method-assign]
        await scene.none_left()
        record = bench.record(job)
        assert (record.state, record.attempts[0].outcome) == (State.RUNNING, None)

    play(tmp_path, act)


def refuse(settlements: Sequence[Settlement]) -> Sequence[Applied]:
    """Be a broker that is out of reach."""
    raise Unavailable(f"the test holds {len(settlements)} settlements up")


@pytest.mark.parametrize("on_partition", ["continue", "kill"])
def test_a_claim_that_is_answered_too_late_begins_nothing(
    tmp_path: Path, on_partition: OnPartition
) -> None:
    """Its jobs go back uncharged, and run once the lease is sure to hold again."""

    async def act(scene: Scene) -> None:
        bench = scene.bench
        await bench.open_lease()
        bench.pool.prepare(1)
        await bench.until(lambda: bench.pool.idle)
        claim = bench.store.claim

        def claim_late(request: r.ClaimRequest) -> r.ClaimAnswer:
            answer = claim(request)
            if answer.jobs:
                bench.clock.advance(TTL_MS)
                bench.store.claim = claim  # type: ignore[method-assign]
            return answer

        bench.store.claim = claim_late  # type: ignore[method-assign]
        job = bench.enqueue_lone(b'{"name":"job"}')
        scene.crew.keep("claims", bench.children.run)
        record = await scene.settled(job)
        assert record.attempts[0].outcome == "interrupted"
        assert (record.state, record.charges) == (State.QUEUED, NO_CHARGES)
        assert not bench.trace.exists()
        await scene.extend()
        await bench.until_final([job])
        assert bench.trace.read_text().count("job-done") == 1

    play(tmp_path, act, on_partition)
