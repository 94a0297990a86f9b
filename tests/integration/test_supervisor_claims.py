"""What is under way while the worker is told to end: a claim for children, a runner's start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.core.job import Charges
from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.channel import kill_if_deaf
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.runner_process import End
from tests.support.children_bench import ChildrenBench
from tests.support.supervised import SOON_S


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


@pytest.mark.parametrize("loses", [0, 1, 2])
def test_what_a_claim_took_goes_back_when_the_worker_ends(tmp_path: Path, loses: int) -> None:
    """A job that is claimed while the drain begins is released uncharged; no child sees it."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            store = HeldClaims(clock := ManualClock(), loses)
            bench = ChildrenBench(tmp_path, crew, store, clock)
            await bench.open_lease()
            job_id = bench.enqueue_lone()
            crew.keep("claims", bench.children.run)
            assert await asyncio.to_thread(store.has_taken.wait, SOON_S)
            bench.stopping.request("the test")
            draining = asyncio.create_task(bench.children.drain(60_000))
            # Its first look comes while the claim is under way.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            store.may_answer.set()
            async with asyncio.timeout(SOON_S):
                await draining
            record = bench.record(job_id)
            assert record.state is State.QUEUED, record
            assert record.charges == Charges(), record
            assert [one.outcome for one in record.attempts] == ["interrupted"], record
            assert not bench.trace.exists(), bench.trace.read_text()
            await bench.close(crew)

    asyncio.run(main())


@pytest.mark.parametrize("moment", ["spawned", "introduced"])
def test_a_runner_that_comes_up_as_the_drain_begins_is_ended(tmp_path: Path, moment: str) -> None:
    """It claims nothing: it is not told to start, and counts as stopped."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            store = HeldClaims(clock := ManualClock(), 0)
            bench = ChildrenBench(tmp_path, crew, store, clock)

            def stop() -> None:
                loop.call_soon_threadsafe(bench.stopping.request, "the test")

            if moment == "spawned":
                bench.stopping.request("the test")
            else:
                store.on_open = stop
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
