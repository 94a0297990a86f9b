"""Memory: what passes its limit is killed and tried again with more; what does not fit waits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.core.footprint import Footprint
from penstock.core.job import JobRecord, Reason
from penstock.core.lifecycle import State
from penstock.core.memory import limit_bytes
from penstock.task import Call
from tests.support import fat_app
from tests.support import memory_app as tasks
from tests.support.eventually import eventually
from tests.support.processes import is_alive
from tests.support.supervised import SOON_S, Supervised

MIB = 2**20
APP = "tests.support.memory_app:app"


def outcomes(record: JobRecord) -> list[str | None]:
    """Return how its attempts ended."""
    return [one.outcome for one in record.attempts]


def lines(site: Supervised, word: str) -> list[str]:
    """Return the trace's lines with this word."""
    if not site.trace.exists():
        return []
    return [line for line in site.trace.read_text().splitlines() if word in line.split()]


@pytest.mark.parametrize(
    "call",
    [tasks.hog.call(1_000, 5.0), tasks.gulp.call(1_000), tasks.hog_in_program.call(1_000, 5.0)],
    ids=["steps", "one piece", "a program of its own"],
)
def test_a_hog_is_killed_and_tried_with_more(tmp_path: Path, call: Call[int]) -> None:
    """It runs three times, each with half as much again, and is dead then; the worker lives."""
    with Supervised(tmp_path, memory="4GiB") as site:
        worker = site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(call))
        assert (record.state, record.reason) == (State.DEAD, Reason.OUT_OF_MEMORY), record
        assert outcomes(record) == ["out_of_memory"] * 3, record
        assert record.charges.memory_bytes == round(128 * MIB * 1.5 * 1.5), record
        assert record.charges.errors == record.charges.crashes == 0, record
        for attempt, reserved in zip(record.attempts, (128, 192, 288), strict=True):
            text = str(attempt.error)
            # In a memory group the kernel stops what the watch does not see in time.
            assert "at its memory limit" in text or "in its memory group" in text, text
            assert f"{limit_bytes(reserved * MIB) // MIB:,} MiB" in text, text
        assert worker.exit_code is None, worker.report()
        programs = [int(line.split()[1]) for line in lines(site, "program")]
        assert not [pid for pid in programs if is_alive(pid)], programs


def test_what_fits_the_second_time_completes(tmp_path: Path) -> None:
    """The reservation grows by half, and that is enough."""
    with Supervised(tmp_path, memory="4GiB") as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.hog.call(144, 0.5)))
        assert record.state is State.COMPLETED, record
        assert outcomes(record) == ["out_of_memory", "succeeded"], record
        assert record.charges.ooms == 1, record


@pytest.mark.parametrize("cgroups", ["auto", "off"])
def test_a_limit_below_what_an_idle_child_holds_is_named(tmp_path: Path, cgroups: str) -> None:
    """At the first kill, with both figures; the next attempt is given enough to begin with."""
    with Supervised(tmp_path, memory="4GiB", cgroups=cgroups) as site:
        site.start_ready(app="tests.support.fat_app:app")
        (record,) = site.wait_final(*site.enqueue(fat_app.small.call()))
        assert record.state is State.COMPLETED, record
        assert outcomes(record) == ["out_of_memory", "succeeded"], record
        first, second = record.attempts
        assert first.error is not None
        told = re.search(
            r"with a limit of 40 MiB; the child held (\d+) MiB before the job began, and 8 MiB "
            r"were reserved: declare memory= above what the app's imports take",
            first.error.message,
        )
        assert told is not None, first
        assert int(told[1]) > 96, first
        assert second.usage is not None
        assert (second.usage.reserved_bytes or 0) > 96 * MIB, second


def test_what_no_worker_can_hold_is_too_large(tmp_path: Path) -> None:
    """The last attempt has the whole budget, and the error says how much that is."""
    with Supervised(tmp_path, memory="160MiB") as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.hog.call(1_000, 5.0)))
        assert (record.state, record.reason) == (State.DEAD, Reason.TOO_LARGE), record
        assert outcomes(record) == ["out_of_memory"] * 2, record
        assert record.charges.memory_bytes == 160 * MIB, record


def test_a_memory_error_counts_as_out_of_memory(tmp_path: Path) -> None:
    """User code that is refused memory is tried again with more of it."""
    with Supervised(tmp_path, memory="4GiB") as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.refuse.call()))
        assert (record.state, record.reason) == (State.DEAD, Reason.OUT_OF_MEMORY), record
        assert "MemoryError" in str(record.attempts[0].error), record


def test_what_is_declared_nowhere_is_not_limited(tmp_path: Path) -> None:
    """An isolated job without a word about memory is counted, and runs as it likes."""
    with Supervised(tmp_path, memory="1GiB") as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.undeclared.call(512, 0.3)))
        assert outcomes(record) == ["succeeded"], record


def test_jobs_run_side_by_side_only_where_they_fit(tmp_path: Path) -> None:
    """Two of three that need 400 MiB each fit into 1 GiB; slots there would be for four."""
    with Supervised(tmp_path, memory="1GiB") as site:
        site.start_ready(app=APP)
        go = tmp_path / "go"
        calls = [
            tasks.wait_for.using(memory="400MiB").call(str(go), f"job{number}")
            for number in range(3)
        ]
        jobs = site.enqueue(*calls)
        eventually(lambda: len(lines(site, "begins")) == 2, within_s=SOON_S, what="two begin")
        # Light work, and whatever is small enough, goes on beside them.
        (small,) = site.wait_final(*site.enqueue(tasks.hog.call(16, name="small")))
        assert small.state is State.COMPLETED, small
        assert len(lines(site, "begins")) == 3, "two large ones and the small one"
        go.touch()
        for record in site.wait_final(*jobs):
            assert outcomes(record) == ["succeeded"], record


def test_a_large_job_is_not_overtaken_for_ever(tmp_path: Path) -> None:
    """Small jobs never leave enough room, until the worker holds itself free for the large one."""
    with Supervised(tmp_path, memory="512MiB") as site:
        site.start_ready(app=APP)
        small = tasks.hog.using(priority=9)
        site.enqueue(*(small.call(16, 1.0, name="small") for _ in range(80)))
        eventually(lambda: lines(site, "begins"), within_s=SOON_S, what="the first small job")
        (large,) = site.enqueue(tasks.hog.using(memory="480MiB", priority=0).call(16, name="large"))
        eventually(lambda: lines(site, "large"), within_s=SOON_S, what="the large job")
        assert len(lines(site, "begins")) < 81, "it was overtaken by all"
        (record,) = site.wait_final(large)
        assert outcomes(record) == ["succeeded"], record


def test_a_job_between_two_workers_runs_on_the_larger(tmp_path: Path) -> None:
    """A worker whose budget lies inside the job's size class gives it back, uncharged, for good."""
    with Supervised(tmp_path, memory="500MiB") as site:
        first = site.start_ready(app=APP)
        (job,) = site.enqueue(tasks.hog.using(memory="510MiB").call(16))
        first.wait_log("does_not_fit", within_s=SOON_S)
        site.settings["memory"] = "600MiB"
        site.start_ready(app=APP)
        (record,) = site.wait_final(job)
        assert outcomes(record) == ["does_not_fit", "succeeded"], record
        assert record.charges.errors == record.charges.ooms == 0, record


def reserved(record: JobRecord) -> int:
    """Return what its last attempt was given, in MiB."""
    usage = record.attempts[-1].usage
    assert usage is not None
    assert usage.reserved_bytes is not None
    return usage.reserved_bytes // MIB


def test_what_an_attempt_took_stands_in_its_record(tmp_path: Path) -> None:
    """Peak, baseline, CPU time, what was given, and how it was measured."""
    with Supervised(tmp_path, memory="1GiB") as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.hog.call(96)))
        usage = record.attempts[0].usage
        assert usage is not None
        assert (usage.reserved_bytes, usage.limit_bytes) == (128 * MIB, limit_bytes(128 * MIB))
        assert usage.peak_bytes is not None
        assert usage.baseline_bytes is not None
        assert 96 * MIB < usage.peak_bytes < 160 * MIB, usage
        assert usage.baseline_bytes < usage.peak_bytes - 64 * MIB, usage
        assert usage.measured in ("cgroup", "hwm", "sampled"), usage
        assert (usage.cpu_ms or 0) > 0, usage


def test_a_leak_is_told_and_its_child_replaced(tmp_path: Path) -> None:
    """Each job leaves 8 MiB: after three the child has no room for its jobs, and another comes."""
    with Supervised(tmp_path, memory="1GiB", concurrency="1") as site:
        site.start_ready(app=APP)
        places = []
        for _ in range(9):
            (record,) = site.wait_final(*site.enqueue(tasks.leaky.call(8)))
            places.append(int(bytes(record.result or b"0")))
        assert max(places) <= 4, f"a child was kept for so long: {places}"
        assert places.count(1) < len(places), f"a child was never used again: {places}"
        name = tasks.leaky.name
        leak = eventually(
            lambda: Footprint(site.broker.footprints([name]).get(name, {})).leak_bytes,
            within_s=SOON_S,
            what="the leak to be told",
        )
        assert abs(leak - 8 * MIB) < MIB, leak


def test_what_a_job_has_freed_its_child_gives_back(tmp_path: Path) -> None:
    """The next job in that child begins with what the first one began with, and a little."""
    with Supervised(tmp_path, memory="1GiB", concurrency="1") as site:
        site.start_ready(app=APP)
        baselines, pids = [], set()
        for _ in range(4):
            (record,) = site.wait_final(*site.enqueue(tasks.punctured.call(24)))
            usage = record.attempts[0].usage
            assert usage is not None
            assert usage.baseline_bytes is not None
            baselines.append(usage.baseline_bytes // MIB)
            pids.add(bytes(record.result or b""))
        assert len(pids) < len(baselines), f"no child was used again: {pids}"
        assert max(baselines) < min(baselines) + 8, baselines


def test_reservations_are_learned_by_size_and_shared(tmp_path: Path) -> None:
    """After three runs of a size its jobs are given what they take; another worker knows it too."""
    with Supervised(tmp_path, memory="2GiB") as site:
        first = site.start_ready(app=APP)
        given = []
        for mib in (32, 32, 32, 256, 256, 256):
            (record,) = site.wait_final(*site.enqueue(tasks.learned.call(mib)))
            assert record.state is State.COMPLETED, record
            given.append(reserved(record))
        assert given[:3] == [512] * 3, "nothing is known yet"
        assert given[3] > 512, "a larger size is judged by the smaller one, in proportion"
        assert all(300 < one < 420 for one in given[4:]), "how it grows is known by then"
        small, large = site.wait_final(
            *site.enqueue(tasks.learned.call(32), tasks.learned.call(256))
        )
        assert 64 < reserved(small) < 160, small
        assert 300 < reserved(large) < 420, large
        name = tasks.learned.name
        eventually(
            lambda: site.broker.footprints([name]).get(name, {}).get("n", 0) >= 8,
            within_s=SOON_S,
            what="the runs to be told",
        )
        first.end()
        site.start_ready(app=APP)
        (again,) = site.wait_final(*site.enqueue(tasks.learned.call(32)))
        assert 64 < reserved(again) <= reserved(small), again


def test_a_job_that_takes_more_than_learned_is_tried_with_more(tmp_path: Path) -> None:
    """It passes the limit that follows from the runs before, and gets half as much again."""
    with Supervised(tmp_path, memory="2GiB") as site:
        site.start_ready(app=APP)
        same = tasks.learned.using(size=1.0)
        for _ in range(3):
            site.wait_final(*site.enqueue(same.call(64)))
        (record,) = site.wait_final(*site.enqueue(same.call(176, 0.5)))
        assert record.state is State.COMPLETED, record
        assert outcomes(record) == ["out_of_memory", "succeeded"], record


def test_a_first_run_that_had_the_whole_worker_is_not_tried_with_less(tmp_path: Path) -> None:
    """Nothing was measured before, so that it might take all there is; it did, and needs more."""
    with Supervised(tmp_path, memory="1536MiB") as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.learned.call(1_700, 5.0)))
        assert (record.state, record.reason) == (State.DEAD, Reason.TOO_LARGE), record
        assert outcomes(record) == ["out_of_memory"], record
