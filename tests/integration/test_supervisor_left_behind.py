"""What jobs in children leave running ends with them, and the next job is not charged with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import Job
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from tests.support import leaving_app as tasks
from tests.support.eventually import eventually
from tests.support.processes import is_alive
from tests.support.supervised import SOON_S, Supervised

APP = "tests.support.leaving_app:app"
#: More than a job of 32 MiB may hold.
MUCH_MIB = 150


def pids_of(record: JobRecord) -> list[int]:
    """Return what a job that has completed returned."""
    assert record.state is State.COMPLETED, record
    return msgspec.json.decode(record.result or b"", type=list[int])


@pytest.mark.parametrize("cgroups", ["auto", "off"])
@pytest.mark.parametrize("how", ["program", "daemon"])
def test_what_a_job_leaves_ends_with_it(tmp_path: Path, how: str, cgroups: str) -> None:
    """It is gone when its job is settled, and the next job is not charged with its memory."""
    with Supervised(tmp_path, concurrency="1", cgroups=cgroups) as site:
        worker = site.start_ready(app=APP)
        (first,) = site.wait_final(*site.enqueue(tasks.leaves.call(how, MUCH_MIB)))
        child, left = pids_of(first)
        assert not is_alive(left), f"{left} of child {child}\n{worker.report()}"
        (second,) = site.wait_final(*site.enqueue(tasks.naps.call(0.5)))
        assert pids_of(second)[0] != child, "what it knows of the program went with it"
        assert len(second.attempts) == 1, second
        worker.wait_log("left 1 process running", within_s=SOON_S)
        # A child that is replaced runs its stop hooks.
        site.wait_lines("stopped", str(child))


@pytest.mark.parametrize("cgroups", ["auto", "off"])
def test_what_start_hooks_have_started_stays(tmp_path: Path, cgroups: str) -> None:
    """It belongs to the child, which is used again, and outlives what a job has left."""
    with Supervised(tmp_path, concurrency="1", cgroups=cgroups) as site:
        site.extra["LEAVING_HELPER"] = "1"
        site.start_ready(app=APP)
        seen = [pids_of(site.wait_final(*site.enqueue(tasks.naps.call(0.0)))[0]) for _ in range(3)]
        assert seen == [seen[0]] * 3, seen
        child, helper = seen[0]
        assert is_alive(helper)
        (record,) = site.wait_final(*site.enqueue(tasks.leaves.call("program")))
        assert pids_of(record)[0] == child, record
        assert not is_alive(pids_of(record)[1])


@pytest.mark.parametrize("cgroups", ["auto", "off"])
def test_a_program_that_has_ended_costs_no_child(tmp_path: Path, cgroups: str) -> None:
    """One that nobody has waited for is nothing that runs: the child is used again."""
    with Supervised(tmp_path, concurrency="1", cgroups=cgroups) as site:
        site.start_ready(app=APP)
        ended = [tasks.leaves_an_ended_one.call() for _ in range(3)]
        records = [site.wait_final(*site.enqueue(one))[0] for one in ended]
        assert len({one.attempts[0].pid for one in records}) == 1, records


def flock_of(site: Supervised, path: Path, job: Job[Any]) -> list[int]:
    """Return the programs of a flock, once they are there."""
    file = Path(f"{path}.pids")
    state = lambda: site.report(job)  # noqa: E731 - one expression
    eventually(file.exists, within_s=SOON_S, what="the flock", state=state)
    return [int(word) for word in file.read_text().split()]


@pytest.mark.parametrize("how", ["cancel", "soft"])
def test_a_program_ends_with_all_that_it_started(tmp_path: Path, how: str) -> None:
    """A cancel and a soft limit are told to all of it, which is gone before the attempt is."""
    with Supervised(tmp_path, kill_grace="20s") as site:
        site.start_ready(app=APP)
        path = tmp_path / "flock"
        limited = tasks.flock.using(soft_timeout="2s") if how == "soft" else tasks.flock
        (job,) = site.enqueue(limited.call(str(path)))
        flock = flock_of(site, path, job)
        if how == "cancel":
            site.cancel(job)
        (record,) = site.wait_final(job)
        assert record.attempts[0].outcome == ("cancelled" if how == "cancel" else "timed_out")
        assert not [pid for pid in flock if is_alive(pid)], record
        assert Path(f"{path}.told").read_text().split() == ["told"] * 3, record


def test_a_program_that_hands_off_has_ended_with_the_rest(tmp_path: Path) -> None:
    """What a program leaves in its group when it ends is killed, and costs no child."""
    with Supervised(tmp_path, concurrency="1") as site:
        worker = site.start_ready(app=APP)
        path = tmp_path / "hand"
        (first, second) = site.wait_final(
            *site.enqueue(tasks.hand_off.call(str(path)), tasks.naps.call(0.0))
        )
        assert first.state is State.COMPLETED, first
        assert not is_alive(int(Path(f"{path}.pids").read_text()))
        assert first.attempts[0].pid == second.attempts[0].pid, worker.report()
