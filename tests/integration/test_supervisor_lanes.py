"""The light lane: what tasks were measured to be decides which slots their jobs may use."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from penstock import Job
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.task import Task
from tests.support import supervised_app as tasks
from tests.support.command_line import penstock
from tests.support.eventually import eventually
from tests.support.supervised import Supervised

#: One slot, one in the lane, and light is what lasts for 50 ms at most.
SETTINGS = {"concurrency": "1", "light": "1", "light_runtime_max": "50ms"}
#: Longer than that.
LONG_S = 0.12
#: Runs that make a task known.
KNOWN_BY = 3


def hold_the_slot(site: Supervised, name: str) -> Job[Any]:
    """Let a child hold the only slot; return the job."""
    (job,) = site.enqueue(tasks.lone.call(600.0, name))
    site.wait_lines(name)
    return job


def outcomes(record: JobRecord) -> list[str | None]:
    """Return how the attempts of a job ended."""
    return [one.outcome for one in record.attempts]


def test_a_task_that_holds_the_cpu_runs_in_children_once_that_is_known(tmp_path: Path) -> None:
    """Its first jobs run in a thread; later ones go to a child of their own accord."""
    with Supervised(tmp_path, **SETTINGS) as site:
        site.start_ready()
        for record in site.wait_final(*site.enqueue(*[tasks.burn.call(LONG_S)] * KNOWN_BY)):
            assert outcomes(record) == ["succeeded"]
            runner = record.result

        def in_a_child() -> JobRecord | None:
            (record,) = site.wait_final(*site.enqueue(tasks.burn.call(LONG_S)))
            return None if record.result == runner else record

        record = eventually(in_a_child, within_s=30, what="a run in a child", state=site.report)
        assert outcomes(record) == ["does_not_fit", "succeeded"]
        assert record.attempts[-1].usage is not None
        assert record.charges.errors == 0


@pytest.mark.parametrize(
    ("task", "seconds", "ends"),
    [
        (tasks.work, LONG_S, "succeeded"),
        (tasks.fail_late, LONG_S, "failed"),
        (tasks.work.using(timeout=LONG_S, retries=0), 600.0, "timed_out"),
        (tasks.sleep_deaf.using(timeout=LONG_S), 600.0, "timed_out"),
    ],
    ids=["succeeds", "fails", "passes its time limit", "is killed with its runner"],
)
def test_only_light_jobs_pass_a_child_that_holds_the_slot(
    tmp_path: Path, task: Task[Any, Any], seconds: float, ends: str
) -> None:
    """One known to be long waits, however its runs end, and explain says so; a light one not."""
    with Supervised(tmp_path, **SETTINGS) as site:
        site.start_ready()
        for known in site.wait_final(*site.enqueue(*[task.call(seconds, "known")] * KNOWN_BY)):
            # Beside a job whose runner is killed others may be interrupted first.
            assert outcomes(known)[-1] == ends

        rounds = count()

        def waits() -> JobRecord | None:
            held = hold_the_slot(site, f"holds-{next(rounds)}")
            (long,) = site.enqueue(task.call(seconds, "long"))
            (light,) = site.wait_final(*site.enqueue(tasks.burn.call(0.0)))
            assert light.state is State.COMPLETED
            first = site.wait_attempt(long, lambda one: one.outcome, "the lane to look at it")
            if first.outcome == "does_not_fit":
                words = ("explain", long.id, "--url", site.url, "--json")
                found = penstock(*words, folder=tmp_path).document
                assert found["kinds"] == ["full"], found
                assert "a thread, a full one" in found["needs"]
            site.cancel(held)
            (record,) = site.wait_final(long)
            return record if first.outcome == "does_not_fit" else None

        record = eventually(waits, within_s=60, what="a long job to wait", state=site.report)
        assert outcomes(record) == ["does_not_fit", ends]


def test_lone_jobs_do_not_keep_the_only_slot_for_ever(tmp_path: Path) -> None:
    """With a backlog of lone jobs a long plain job has its turn."""
    with Supervised(tmp_path, **SETTINGS) as site:
        site.start_ready()
        site.wait_final(*site.enqueue(*[tasks.work.call(LONG_S, "known")] * KNOWN_BY))
        lone = site.enqueue(*[tasks.lone.call(0.15, "lone") for _ in range(60)])
        site.wait_lines("lone")
        (record,) = site.wait_final(*site.enqueue(tasks.work.call(LONG_S, "long")))
        assert record.state is State.COMPLETED
        left = [site.broker.get(JobId(job.id)) for job in lone]
        assert any(one and one.state is State.QUEUED for one in left), "all lone jobs came first"
        for job in lone:
            site.cancel(job)
