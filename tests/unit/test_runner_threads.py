"""The thread slots of a runner: which jobs may start, and where the others wait."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import ALONE, THREAD, THREAD_FULL, Claimed, JobSpec
from penstock.core.pace import Kind, Pace
from penstock.executors.lane import Took
from penstock.tasks.registry import Registration
from penstock.worker import wire
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.runner.notes import NoteBook
from penstock.worker.runner.threads import Threads


def registration(name: str = "t", **options: Any) -> Registration:
    """Return a plain task of its own app."""
    app = App("sqlite:///never-opened.db")
    app.task(name=name, **options)(_nothing)
    return app.registry[name]


def _nothing() -> None:
    """Do nothing."""


def attempt(task: Registration) -> RunnerAttempt:
    """Return an attempt of a job of it."""
    job = Claimed(
        id=JobId("1" * 32),
        queue="q",
        fence=Fence("f" * 32),
        lease=LeaseId("a" * 32),
        spec=JobSpec(task=task.name, payload=msgspec.Raw(b"{}")),
        claim_number=1,
        claimed_at=1,
    )
    notes: NoteBook = object.__new__(NoteBook)
    return RunnerAttempt(job, notes, task)


def threads(full: int, light: int, **kinds: Kind) -> Threads:
    """Return slots whose runner has been told of these tasks, and tells nobody."""
    made = Threads(lambda _: None, full=full, light=light)
    made.learn(kinds)
    return made


def where(slots: Threads, task: Registration) -> str | None:
    """Return the ready set in which a job has to wait."""
    found = slots.elsewhere(task)
    return None if found is None else found.need


def test_light_jobs_use_the_lane_first() -> None:
    """They leave full slots to those that need one, and take them once the lane is full."""
    slots, light = threads(1, 2, t=Kind.LIGHT), registration()
    for left in ((1, 1), (1, 0), (0, -1)):
        assert where(slots, light) is None
        slots.begin(attempt(light), light)
        assert (slots.free_full(), slots.free_light()) == left
    assert where(slots, light) == THREAD


def test_a_long_job_waits_for_a_full_slot() -> None:
    """The lane is not for it; it goes to a set of its own, from which no lane claims."""
    slots, long = threads(1, 1, t=Kind.LONG), registration()
    assert slots.claimable() == ((THREAD, THREAD_FULL), 1)
    one = attempt(long)
    slots.begin(one, long)
    assert where(slots, long) == THREAD_FULL
    assert slots.claimable() == ((THREAD,), 1)
    slots.end(one, is_success=False)
    assert where(slots, long) is None


def test_a_task_that_was_not_measured_may_use_the_lane() -> None:
    """Else a new task would wait behind heavy jobs before anything could be known of it."""
    assert where(threads(0, 1), registration()) is None


def test_a_busy_task_goes_to_a_child() -> None:
    """Even where slots are free, unless its author forbids it."""
    slots = threads(4, 2, t=Kind.BUSY)
    assert where(slots, registration()) == ALONE
    assert where(slots, registration(isolation="thread")) is None
    assert where(threads(0, 2, t=Kind.BUSY), registration(isolation="thread")) == THREAD_FULL


@pytest.mark.parametrize(("light", "expected"), [(True, None), (False, THREAD_FULL)])
def test_the_author_decides_otherwise(light: bool, expected: str | None) -> None:  # noqa: FBT001 - of pytest
    """`light=` wins over what was measured."""
    kind = Kind.LONG if light else Kind.LIGHT
    assert where(threads(0, 1, t=kind), registration(light=light)) == expected


def test_not_being_light_keeps_no_busy_task_out_of_a_child() -> None:
    """Only `isolation="thread"` does, and the word that it is light."""
    slots = threads(1, 1, t=Kind.BUSY)
    assert where(slots, registration(light=False)) == ALONE
    assert where(slots, registration(light=True)) is None


@pytest.mark.parametrize(("process_cpu_s", "kind"), [(0.6, Kind.LONG), (0.95, Kind.BUSY)])
def test_neighbours_count_only_where_they_held_the_interpreter(
    process_cpu_s: float, kind: Kind
) -> None:
    """Twelve that mostly wait for others, side by side, do not wait for each other."""
    told: list[wire.Paced] = []

    async def main() -> None:
        slots = Threads(told.append, full=12, light=0)
        task = registration()
        made = [attempt(task) for _ in range(12)]
        for one in made:
            slots.begin(one, task)
            one.took = Took(run_s=1.0, cpu_s=0.08, process_cpu_s=process_cpu_s)
        # The last one to end has no neighbour any more.
        for one in made[:4]:
            slots.end(one, is_success=True)
        slots.tell()

    asyncio.run(main())
    assert Pace(told[0].runs["t"]).kind(500.0) is kind


def test_what_runs_took_is_told_together() -> None:
    """Once a second, the sums of all runs that went well, and of others that were not light."""
    told: list[wire.Paced] = []

    async def main() -> None:
        is_told = asyncio.Event()

        def tell(message: wire.Paced) -> None:
            told.append(message)
            is_told.set()

        slots = Threads(tell, full=4, light=0, light_ms=500)
        task = registration()
        made = [attempt(task) for _ in range(4)]
        for one in made:
            slots.begin(one, task)
            one.took = Took(run_s=0.01, cpu_s=0.001, process_cpu_s=0.001)
        made[1].took = Took(run_s=2.0, cpu_s=0.001, process_cpu_s=0.001)
        for one in made:
            slots.end(one, is_success=one in made[2:])
        await is_told.wait()

    asyncio.run(main())
    pace = Pace(told[0].runs["t"])
    assert (pace.runs, pace.runs_over(500.0)) == (3, 1)
    assert len(told) == 1
