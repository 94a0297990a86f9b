"""Rounds of the supervisor: what ends in children is settled, and claimed for, in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from penstock.core.settlement import Applied, Settlement
from penstock.errors import OutcomeUnknown, UsageError
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.halt import Halt
from penstock.worker.supervisor.lone_attempt import LoneAttempt
from tests.support import supervised_app as tasks
from tests.support.children_bench import ChildrenBench

#: Jobs of one test; more than enough for rounds to follow each other.
JOBS = 40


class CountedRounds(MemoryBroker):
    """A broker in memory that keeps what its cycles came to, and loses or refuses some.

    Attributes:
        rounds: settlements and claimed jobs of each cycle that was answered.
        loses: how many answers of cycles that took something are lost.
        refuses: how many batches are refused.
    """

    def __init__(self, clock: ManualClock, *, loses: int = 0, refuses: int = 0) -> None:
        """Count from nothing."""
        super().__init__(clock)
        self.rounds: list[tuple[int, int]] = []
        self.loses = loses
        self.refuses = refuses

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle and claim."""
        if self.refuses:
            self.refuses -= 1
            raise UsageError("the batch is refused by the test")
        applied, answer = super().cycle(settlements, request)
        if self.loses and answer.jobs:
            self.loses -= 1
            raise OutcomeUnknown("the answer is lost by the test: call again")
        self.rounds.append((len(settlements), len(answer.jobs)))
        return applied, answer


class KeptAttempts(dict[JobId, LoneAttempt]):
    """Attempts under way; one that is over within a turn of the loop can still be looked at.

    Attributes:
        kept: every attempt that has ever begun.
    """

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.kept: dict[JobId, LoneAttempt] = {}

    def __setitem__(self, job: JobId, attempt: LoneAttempt) -> None:
        """Begin an attempt."""
        self.kept[job] = attempt
        super().__setitem__(job, attempt)


@pytest.mark.parametrize(("loses", "refuses"), [(0, 0), (2, 0), (0, 2)])
def test_what_ends_is_settled_and_replaced_in_one_call(
    tmp_path: Path, loses: int, refuses: int
) -> None:
    """Every job runs once, also where answers are lost or a batch is refused; calls are shared."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            store = CountedRounds(clock := ManualClock(), loses=loses, refuses=refuses)
            bench = ChildrenBench(tmp_path, crew, store, clock, slots=2)
            await bench.open_lease()
            jobs = [bench.enqueue_lone() for _ in range(JOBS)]
            crew.keep("claims", bench.children.run)
            await bench.until_final(jobs)
            records = [bench.record(job) for job in jobs]
            assert {one.state for one in records} == {State.COMPLETED}, records
            assert {len(one.attempts) for one in records} == {1}, records
            assert any(settled and claimed for settled, claimed in store.rounds), store.rounds
            assert max(claimed for _, claimed in store.rounds) <= 2, "no more than the slots"
            assert (store.loses, store.refuses) == (0, 0)
            await bench.until(lambda: bench.children.is_at_rest)
            assert bench.parts.slots.children == 0
            assert crew.failures == 0
            await bench.close(crew)

    asyncio.run(main())


def test_what_comes_too_late_for_a_job_does_not_hit_the_next_in_its_child(tmp_path: Path) -> None:
    """Once an attempt has ended, a cancel or a lost lease of it does nothing to its child."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            store = CountedRounds(clock := ManualClock())
            bench = ChildrenBench(tmp_path, crew, store, clock)
            await bench.open_lease()
            first = bench.enqueue_lone()
            clock.advance(1)
            second = bench.enqueue_lone(b'{"seconds":600.0}')
            bench.children.attempts = attempts = KeptAttempts()
            crew.keep("claims", bench.children.run)
            await bench.until(lambda: second in attempts and attempts[second].child)
            early = attempts.kept[first]
            child = attempts[second].child
            assert child is not None
            early.halt(Halt.CANCEL)
            early.halt(Halt.LOST)
            assert child.mark is None
            assert child.job is not None
            assert child.job.id == second
            await bench.close(crew)

    asyncio.run(main())


def test_a_child_that_piles_up_is_replaced(tmp_path: Path) -> None:
    """After a hundred jobs a child that holds many more files than at its start makes way."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            store = CountedRounds(clock := ManualClock())
            bench = ChildrenBench(tmp_path, crew, store, clock)
            await bench.open_lease()
            tidy = [bench.enqueue_lone() for _ in range(101)]
            crew.keep("claims", bench.children.run)
            await bench.until_final(tidy)
            assert len(_pids(bench, tidy)) == 1, "one child ran them all"
            leaky = [bench.enqueue_lone(task=tasks.lone_leaks_files.name) for _ in range(100)]
            await bench.until_final(leaky)
            assert len(_pids(bench, leaky)) == 2, "it made way at its 200th job"
            await bench.close(crew)

    asyncio.run(main())


def _pids(bench: ChildrenBench, jobs: Sequence[JobId]) -> set[int]:
    return {msgspec.json.decode(bench.record(job).result or b"", type=int) for job in jobs}
