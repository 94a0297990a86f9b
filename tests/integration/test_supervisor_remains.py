"""What a killed worker leaves on its host is cleared away by whoever takes its jobs over."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from penstock.executors.procfs import all_stats, environment_value
from penstock.worker.supervisor.child_folder import sweep_folders
from penstock.worker.supervisor.remains import MARK_ENV
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import TRACE_ENV, Supervised


def of_jobs(site: Supervised) -> list[int]:
    """Return the living processes of a site that a child has started, or that are one."""
    return [
        stat.pid
        for stat in all_stats().values()
        if stat.state not in "ZX"
        and environment_value(stat.pid, TRACE_ENV) == str(site.trace)
        and environment_value(stat.pid, MARK_ENV) is not None
    ]


@pytest.mark.parametrize("groups", ["auto", "off"])
def test_programs_of_a_killed_worker_end_before_its_job_runs_again(
    tmp_path: Path, groups: str
) -> None:
    """Also where the worker that takes over was there before, and whatever they have left."""
    with Supervised(tmp_path, cgroups=groups) as site:
        doomed = site.start_ready()
        site.enqueue(tasks.lone_leaves.call(600.0))
        site.wait_lines("leaver-started")
        left = set(of_jobs(site))
        assert len(left) >= 3, "the child, its program, and one that left its parents"
        survivor = site.start_ready()
        doomed.signal(signal.SIGKILL)
        eventually(
            lambda: not left & set(of_jobs(site)),
            within_s=30,
            what="what was left to be gone",
            state=site.report,
        )
        assert survivor.exit_code is None, survivor.report()
        assert os.getpid() not in left


def test_a_worker_clears_away_at_its_start_too(tmp_path: Path) -> None:
    """Nobody was there when the other one was killed."""
    with Supervised(tmp_path, cgroups="off") as site:
        doomed = site.start_ready()
        site.enqueue(tasks.lone_leaves.call(600.0))
        site.wait_lines("leaver-started")
        left = set(of_jobs(site))
        doomed.signal(signal.SIGKILL)
        doomed.wait_exit(10)
        site.start_ready()
        eventually(
            lambda: not left & set(of_jobs(site)),
            within_s=30,
            what="what was left to be gone",
            state=site.report,
        )


def folders(place: Path) -> list[Path]:
    """Return the folders of children in a folder for temporary files."""
    return [one for one in place.glob("penstock-*") if (one / ".penstock-lock").exists()]


def test_temporary_folders_of_a_killed_worker_go_with_the_next_start(tmp_path: Path) -> None:
    """Those of a living worker stay, and whatever only looks like one."""
    looks_like = tmp_path / "penstock-mine"
    looks_like.mkdir()
    (looks_like / "data").write_text("kept")
    with Supervised(tmp_path) as site:
        doomed = site.start_ready()
        site.wait_final(*site.enqueue(tasks.lone.call()))
        left = folders(tmp_path)
        assert left, "a warm child has one"
        for one in left:
            (one / "deep" / "er").mkdir(parents=True)
            (one / "deep" / "er" / "file").write_text("of a job")
            (one / "out").symlink_to(looks_like)
        doomed.signal(signal.SIGKILL)
        doomed.wait_exit(10)
        second = site.start_ready()
        eventually(
            lambda: not any(one.exists() for one in left),
            within_s=30,
            what="what was left to be gone",
            state=site.report,
        )
        site.wait_final(*site.enqueue(tasks.lone.call()))
        held = folders(tmp_path)
        assert held
        # What a worker does at its start, while another one lives.
        assert sweep_folders({"TMPDIR": str(tmp_path)}) == 0
        assert folders(tmp_path) == held
        second.signal(signal.SIGTERM)
        assert second.wait_exit(30) == 0, second.report()
    assert folders(tmp_path) == []
    assert (looks_like / "data").read_text() == "kept"
