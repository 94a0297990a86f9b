"""Children whose import hangs: their jobs can be cancelled and released, and they do not stay."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from penstock import Job
from penstock.core.lifecycle import State
from tests.support import hanging_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised, wait_gone

APP = "tests.support.hanging_app:app"


def begin_wide(site: Supervised) -> tuple[Job[Any], int]:
    """Enqueue a job whose child hangs; return it and the child's pid, once it does."""
    (job,) = site.enqueue(tasks.wide.call())
    ((_, pid),) = site.wait_lines("hangs")
    assert site.record(job).state is State.RUNNING, site.report(job)
    return job, int(pid)


def site_of(folder: Path, threads: int, **settings: str) -> Supervised:
    """Return a site with children that hang if they are made for so many threads."""
    site = Supervised(folder, **settings)
    site.extra[tasks.HANGING_ENV] = str(threads)
    return site


def test_a_job_is_cancelled_while_its_child_hangs(tmp_path: Path) -> None:
    """It has not begun, so it is cancelled at once, and its child goes."""
    with site_of(tmp_path, 2, cpus="2") as site:
        site.start_ready(app=APP)
        job, pid = begin_wide(site)
        site.cancel(job)
        (record,) = site.wait_final(job)
        assert record.state is State.CANCELLED, record
        wait_gone(pid, state=site.report)
        (other,) = site.wait_final(*site.enqueue(tasks.narrow.call()))
        assert other.state is State.COMPLETED, other


def test_a_worker_that_ends_does_not_wait_for_a_hanging_child(tmp_path: Path) -> None:
    """Its job goes back at once, uncharged: there is nothing that could finish in the grace."""
    with site_of(tmp_path, 2, cpus="2", drain_grace="600s") as site:
        worker = site.start_ready(app=APP)
        job, pid = begin_wide(site)
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        record = site.record(job)
        assert record.state is State.QUEUED, record
        assert not [one for one in record.attempts if one.outcome != "interrupted"], record
        assert record.charges.crashes == 0, record
        wait_gone(pid, state=site.report)


@pytest.mark.parametrize(("threads", "task"), [(1, "narrow"), (2, "wide")])
def test_a_child_that_hangs_is_given_up(tmp_path: Path, threads: int, task: str) -> None:
    """Its stack is told, its job waits for another one, and runs once that is ready."""
    with site_of(tmp_path, threads, cpus="2", child_start_max="5s") as site:
        worker = site.start_ready(app=APP)
        (job,) = site.enqueue(getattr(tasks, task).call())
        worker.wait_log("is not ready yet: after 5 s it is given up", within_s=SOON_S)
        worker.wait_log("is not ready after 5 s", within_s=SOON_S)
        eventually(
            lambda: "hanging_app.py" in worker.log(),
            within_s=SOON_S,
            what="the stack of the child",
            state=worker.report,
        )
        Path(f"{site.trace}{tasks.GO_ON}").touch()
        (record,) = site.wait_final(job)
        assert record.state is State.COMPLETED, record
        assert record.charges.crashes == 0, record
