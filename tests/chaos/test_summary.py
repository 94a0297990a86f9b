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
from tests.support.summary import BROKERS, Summary, as_report, shortfalls, summarise

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
    assert "kills every 1 s, and not every 0.4 s" in text
    assert "| one row | 1 | 1 | 0 | 1 | 2 | 70 / 70 | 1.0 |" in text


def test_the_report_says_that_network_namespaces_did_not_run() -> None:
    """Where no row is of them; and does not where one is."""
    said = "Not run here: F10 over links of network namespaces"
    proxied = row_on("redis", "F10 partition, kill", lost=0)
    assert said in as_report([proxied], origin(), 77)
    real = row_on("redis", "F10 network namespace, far end down, kill", lost=0)
    assert said not in as_report([proxied, real], origin(), 77)


def test_the_report_has_a_table_for_each_broker() -> None:
    """Each table has the rows of its broker alone, and a total that leaves out what may be lost."""
    rows = [
        row_on("sqlite", "b", lost=0),
        row_on("redis", "a", lost=0),
        row_on("sqlite", "a", lost=0),
        row_on("sqlite", "c, class local", lost=7, may_lose=True),
    ]
    redis, sqlite = as_report(rows, origin(), 77).split("\n## ")[1:]
    assert redis.startswith("Redis\n")
    assert [line.split("|")[1].strip() for line in redis.splitlines()[4:]] == ["a", "total"]
    names = [line.split("|")[1].strip() for line in sqlite.splitlines()[4:]]
    assert names == ["a", "b", "c, class local", "total"]
    assert "| total | 20000 | 2000 | 0 | 2 | 4 | - | 3.0 |" in sqlite


def test_a_proof_that_falls_short_says_so() -> None:
    """Fewer jobs or faults than promised, a lost job and a broker without rows are each told."""
    whole = [row_on(broker, name, lost=0) for broker in BROKERS for name in ("a", "b")]
    assert shortfalls(whole) == []
    assert shortfalls([*whole, row_on("redis", "c", lost=7, may_lose=True)]) == []
    lost = [msgspec.structs.replace(whole[0], lost=1), *whole[1:]]
    assert shortfalls(lost) == ["postgres: 1 accepted jobs lost"]
    assert shortfalls(whole[1:]) == [
        "postgres: 10000 jobs, not 20000",
        "postgres: 1000 faults, not 2000",
    ]
    assert shortfalls(whole[2:]) == ["postgres: no row"]


def row_on(broker: str, scenario: str, *, lost: int, may_lose: bool = False) -> Summary:
    """Return a row of half a proof."""
    return Summary(
        scenario=scenario,
        broker=broker,
        jobs=10_000,
        faults=1_000,
        lost=lost,
        repeated=1,
        starts=2,
        recovery_ms=[70.0],
        seconds=1.0,
        may_lose=may_lose,
    )


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
