"""The library with a real worker: what is enqueued here runs there, and comes back typed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import App, Job
from penstock.broker.requests import JobFilter
from penstock.connect import sqlite_url
from penstock.core.lifecycle import State
from penstock.errors import JobDead, PayloadTooLarge
from tests.support import library_app as tasks

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for a worker to start, run some jobs and end, on a machine that is busy with other tests.
BURST_S = 50.0


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The app on a file of its own."""
    file = tmp_path / "jobs.db"
    monkeypatch.setenv("PENSTOCK_URL", sqlite_url(file))
    monkeypatch.setattr(tasks.app, "_config", None)
    yield tasks.app
    tasks.app.close()


def work() -> None:
    """Run a worker until nothing is left to do."""
    program = str(Path(sys.executable).with_name("penstock"))
    command = [program, "worker", "tests.support.library_app:app", "--burst"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BURST_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def records_of(app: App, task: str) -> list[Job[object]]:
    """Return the jobs of a task."""
    page = app.broker.list_jobs(JobFilter(task=task), limit=100, before=None)
    return [app.job(record.id) for record in page.jobs]


def test_burials_are_told_wherever_the_job_died(app: App) -> None:
    """A thread, a coroutine and a child: each dead job has one on_dead job, with its traceback."""
    dead = [task.enqueue() for task in (tasks.dies_in_thread, tasks.dies_in_loop)]
    dead.append(tasks.dies_in_child.enqueue())
    work()
    told = {}
    for notice in records_of(app, tasks.notice.name):
        result = notice.result(timeout=0)
        assert isinstance(result, dict)
        assert result["job_id"] not in told, "one notice for each"
        told[result["job_id"]] = result
    assert told.keys() == {job.id for job in dead}
    for job in dead:
        with pytest.raises(JobDead) as caught:
            job.result(timeout=0)
        assert told[job.id]["reason"] == "retries_exhausted"
        assert told[job.id]["error"] == caught.value.error
        assert "Traceback" in told[job.id]["error"]


def test_arguments_and_results_are_typed_on_both_sides(app: App) -> None:
    """Structs and paths go to the worker and come back as what they were."""
    one, two, three = (tasks.Order(n, Path(f"order {n}")) for n in range(3))
    job = tasks.typed.enqueue(one, two, last=three)
    work()
    assert job.result(timeout=0) == [one, two, three]


def test_raised_caps_hold_on_both_sides(app: App) -> None:
    """Above 1 MiB, within the app's own caps: arguments, results, and what tasks enqueue."""
    text = "x" * 1_500_000
    job = tasks.swell.enqueue(text, 1, isolated=True)
    too_large = tasks.swell.enqueue(text, 2)
    work()
    assert job.result(timeout=0) == text
    [alone] = records_of(app, tasks.swell_alone.name)
    assert alone.result(timeout=0) == text
    with pytest.raises(JobDead, match=r"result of task .* 2097152 at most"):
        too_large.result(timeout=0)
    with pytest.raises(PayloadTooLarge, match="3145728 at most"):
        tasks.swell.enqueue("x" * 3_200_000, 1)


def test_jobs_enqueue_jobs_from_everywhere(app: App) -> None:
    """From a coroutine, sync code in it, a library task's app, and a child over its pipe."""
    job = tasks.fan_out_of_child.enqueue(2)
    work()
    first = job.result(timeout=0)
    states = [record.status() for record in records_of(app, tasks.fan_out.name)]
    assert states == [State.COMPLETED] * 7
    ids = app.job(first).result(timeout=0)
    halves = [float(str(one.result(timeout=0))) for one in records_of(app, tasks.halve.name)]
    assert sorted(halves) == [0.5, 0.5, 1.0]
    assert ids[2] in {one.id for one in records_of(app, tasks.halve.name)}
    assert app.job(ids[2]).record().queue == "library"
