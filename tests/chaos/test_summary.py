"""The rows of the proof are counted from history and dump, shown on runs made by hand."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from penstock.core.ids import JobId
from penstock.core.job import AttemptRecord, JobRecord, JobSpec
from penstock.core.lifecycle import State
from tests.chaos.test_kill import assert_quick, taken_over_ms
from tests.chaos.test_recovery import Rerun, assert_row, table_row
from tests.support import history as h
from tests.support.dump import Dump
from tests.support.origin import origin
from tests.support.summary import as_report, summarise

JOB = "0" * 31 + "1"
#: A job that a kill cut off, and that ran again 70 ms after it.
RERUN = (
    h.Accepted(at_ns=1, job=JOB),
    h.Started(at_ns=10, job=JOB, attempt=1, pid=10),
    h.Fault(at_ns=1_000_000, kind="sigkill_tree", pids=(10,)),
    h.Started(at_ns=71_000_000, job=JOB, attempt=2, pid=11),
)


def dump(*states: State) -> Dump:
    """Return a dump with the job in this state, or without it."""
    spec = JobSpec(task="act", payload=msgspec.Raw(b"{}"))
    attempts = (AttemptRecord(1, "w", 10, 1, 2, "lost"), AttemptRecord(2, "w", 11, 3, 4, "failed"))
    records = [
        JobRecord(
            id=JobId(JOB), queue="q", spec=spec, state=state, enqueued_at=1, attempts=attempts
        )
        for state in states
    ]
    jobs = {str(record.id): record for record in records}
    return Dump(jobs=jobs, listed={}, counts=(), leases=(), needs={})


def test_a_rerun_is_counted() -> None:
    """Jobs, starts, faults and the time from the fault to the next start are those of the run."""
    row = summarise("x", RERUN, dump(State.COMPLETED), 1.0)
    counted = (row.jobs, row.faults, row.lost, row.repeated, row.starts, row.recovery_ms)
    assert counted == (1, 1, 0, 1, 2, [70.0])


@pytest.mark.parametrize("states", [(), (State.QUEUED,)], ids=["unknown", "still queued"])
def test_a_job_that_did_not_end_is_counted_as_lost(states: tuple[State, ...]) -> None:
    """An accepted job that the dump does not know, or knows as open, is lost."""
    assert summarise("x", RERUN, dump(*states), 1.0).lost == 1


@pytest.mark.parametrize(
    ("events", "states"),
    [
        (RERUN, ()),
        (RERUN, (State.RUNNING,)),
        (RERUN[:-1], (State.COMPLETED,)),
        ((*RERUN, msgspec.structs.replace(RERUN[-1], attempt=3)), (State.COMPLETED,)),
    ],
    ids=["lost", "not final", "no rerun seen", "a third run"],
)
def test_a_recovery_that_did_not_hold_is_no_row(
    events: tuple[h.Event, ...], states: tuple[State, ...]
) -> None:
    """A run of recovery whose job was lost, or did not start exactly twice, fails its row."""
    good = Rerun(0.3, summarise("x", RERUN, dump(State.COMPLETED), 1.0))
    bad = Rerun(0.3, summarise("x", events, dump(*states), 1.0))
    assert_row(table_row("x", [good, good], 0.0), 2, 2.0)
    with pytest.raises(AssertionError):
        assert_row(table_row("x", [good, bad], 0.0), 2, 2.0)


def test_a_slow_recovery_is_no_row() -> None:
    """One recovery beyond its limit fails the row, whatever the others were."""
    counted = summarise("x", RERUN, dump(State.COMPLETED), 1.0)
    with pytest.raises(AssertionError):
        assert_row(table_row("x", [Rerun(0.3, counted), Rerun(2.1, counted)], 0.0), 2, 2.0)


@pytest.mark.parametrize("recovery_ms", [[], [60.0] * 50 + [3_100.0] * 2])
def test_random_kills_that_recover_late_are_refused(recovery_ms: list[float]) -> None:
    """F01 fails where nothing was cut off, and where p99 is beyond a lease and a second."""
    assert_quick([60.0] * 199 + [4_000.0])
    with pytest.raises(AssertionError):
        assert_quick(recovery_ms)


def test_what_a_kill_cut_off_is_timed_to_its_end() -> None:
    """Only the lost attempt counts, from the kill of its process to its recorded end."""
    now_ms = time.time_ns() // 1_000_000
    found = dump(State.COMPLETED)
    lost = AttemptRecord(1, "w", 10, now_ms - 50, now_ms + 300, "lost")
    found.jobs[JOB] = msgspec.structs.replace(
        found.jobs[JOB], attempts=(lost, *found.jobs[JOB].attempts[1:])
    )
    kill = h.Fault(at_ns=h.boot_ns(), kind="sigkill_runner", pids=(10, 11))
    (seen,) = taken_over_ms([kill], found)
    assert 200 < seen <= 301


def test_the_report_says_where_it_comes_from() -> None:
    """Its first line names date, commit, machine, Python, kernel and seed, and all rows follow."""
    here = origin()
    text = as_report([summarise("one row", RERUN, dump(State.COMPLETED), 1.0)], here, 77)
    line = text.splitlines()[2]
    parts = (here.date, here.commit, f"{here.cpus} CPUs", here.python, here.kernel, "seed 77")
    assert [part for part in parts if part not in line] == []
    assert "kills every 1 s here, and every 0.4 s" in text
    assert "| one row | 1 | 1 | 0 | 1 | 2 | 70 / 70 | 1.0 |" in text


def test_an_origin_tells_of_changes_that_are_in_no_commit(tmp_path: Path) -> None:
    """A changed file is told after the commit; one below proof/, which the proof writes, is not."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    (tmp_path / "proof").mkdir()
    (tmp_path / "proof/report.md").write_text("new")
    assert "+" not in origin(tmp_path).commit
    (tmp_path / "code.py").write_text("new")
    assert origin(tmp_path).commit.endswith("+changes")
