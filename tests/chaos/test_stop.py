"""F08: processes that stand still past their lease and come back, and runners that stand still."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.task import Call
from tests.chaos import tasks
from tests.support import history as h
from tests.support import processes
from tests.support.brokers import KINDS, Brokers, Kind
from tests.support.eventually import eventually
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish, Summary, combined, summarise
from tests.support.worker_process import WorkerProcess

#: Leases are 2 s here; a worker stands still for three.
STOPPED_S = 6.0
#: Jobs that only wait in a worker when it is stopped. With those that tell notes they fit into its
#: slots for coroutines, with those that keep a checkpoint into its threads.
JOBS = 35
#: Jobs of each kind that keep a checkpoint or tell notes.
TELLING = 3
#: Writes of stopped workers that came too late, on each broker in the proof: none may land.
STALE_MIN = 500
ROUNDS = math.ceil(STALE_MIN / (JOBS + 2 * TELLING))
#: Settings for a runner that stands still: reported after 2.5 s (beats come each
#: second), replaced after 6 s.
STALL: dict[str, Any] = {"runner_stall_report": "2500ms", "runner_stall_kill": "6s"}


def stop(site: Site, worker: WorkerProcess) -> list[int]:
    """SIGSTOP a worker's whole tree and return its pids."""
    stopped = processes.stop_tree(worker.pid)
    site.fault("sigstop", stopped)
    return stopped


def workers_come_back(
    kind: Kind, brokers: Brokers, folder: Path, rounds: int, publish: Publish
) -> None:
    """Stop one worker after the other past its lease."""
    began = time.monotonic()
    rows = []
    for number in range(rounds):
        at = folder / str(number)
        with Site(at, url=brokers.url(kind, at)) as site:
            # Its runners first, every second time: then the broker refuses what they write, and not
            # the runner itself, which its supervisor has told that the lease is lost.
            rows.append(worker_comes_back(site, runners_first=number % 2 == 0))
    publish(combined("F08 stopped workers", rows, time.monotonic() - began))


def calls_for_a_stop() -> Iterator[Call[Any]]:
    """Yield jobs whose first runs complete, fail, checkpoint and tell notes, all too late."""
    # Some second runs have ended when the first worker comes back, some are still under way.
    lengths = [2.5 + 4.0 * number / JOBS for number in range(JOBS)]
    for number, length in enumerate(lengths):
        yield tasks.wait.call(length, fails=int(number % 5 == 0))
    for _ in range(TELLING):
        yield tasks.keep.call(2.0)
        yield tasks.narrate.call(STOPPED_S + 2.0)


def wait_first_runs(site: Site, jobs: Sequence[str]) -> None:
    """Return once the first run of each job has ended and was told that its end is refused."""

    def refused() -> bool:
        replies = h.of_type(h.FinishReplied, site.events())
        return {one.job for one in replies if one.attempt == 1} >= set(jobs)

    what = "the first runs to end after the worker came back"
    eventually(refused, within_s=30, what=what, state=site.report)


def worker_comes_back(site: Site, *, runners_first: bool) -> Summary:
    """Stop a whole worker past its lease, let another run its jobs, and let it go on."""
    began = time.monotonic()
    stalled = site.start_ready("stalled")
    calls = list(calls_for_a_stop())
    jobs = [job.id for job in site.enqueue(*calls)]
    (runner,) = {site.wait_started(job).pid for job in jobs}
    told = [job for job, call in zip(jobs, calls, strict=True) if "narrate" in call.plan.spec.task]
    # What they have told by now is kept.
    eventually(
        lambda: all(site.record(job).log for job in told), within_s=30, what="their first notes"
    )
    stopped = stop(site, stalled)
    until_ns = h.boot_ns() + round(STOPPED_S * 1e9)
    site.start_ready("second")
    for job in jobs:
        site.wait_started(job, attempt=2)
    site.wait_until(until_ns)
    if runners_first:
        processes.send([pid for pid in stopped if pid != stalled.pid], signal.SIGCONT)
        wait_refused_notes(stalled, told)
    processes.send(stopped, signal.SIGCONT)
    # Its heartbeat is refused as well: it goes on under another lease.
    stalled.wait_log(f"the lease of pid {runner} was lost", within_s=10.0)
    wait_first_runs(site, jobs)
    site.wait_final(jobs, within_s=60)
    events, dump = site.check(leftovers=site.drain(*site.workers))
    for job in jobs:
        assert_second_run_won(dump.jobs[job], runner, events)
        assert f"lease lost: job {job} " in stalled.log(), stalled.log()
    for job in told:
        assert_late_notes_refused(dump.jobs[job], until_ns, events)
    return summarise("F08 stopped workers", events, dump, time.monotonic() - began)


def wait_refused_notes(worker: WorkerProcess, jobs: Sequence[str]) -> None:
    """Return once the worker has been told for each job that its notes are refused."""

    def look() -> bool:
        lines = [line for line in worker.log().splitlines() if "its notes were refused" in line]
        return all(any(job in line for line in lines) for job in jobs)

    eventually(look, within_s=10, what=f"refused notes of {jobs}", state=worker.report)


def assert_second_run_won(record: JobRecord, first_pid: int, events: Sequence[h.Event]) -> None:
    """The second run settled the job, the first one was refused, and its failure costs nothing."""
    outcomes = [attempt.outcome for attempt in record.attempts]
    assert outcomes == ["lost", "succeeded"], record
    assert record.attempts[0].pid == first_pid != record.attempts[1].pid, record
    assert record.charges.errors == 0, record
    assert msgspec.json.decode(record.result or b"{}")["attempt"] == 2, record
    replies = [one for one in h.of_type(h.FinishReplied, events) if one.job == record.id]
    assert sorted((one.attempt, one.reply) for one in replies) == [(1, "lease_lost"), (2, "ok")]
    if record.checkpoint is not None:
        assert msgspec.json.decode(record.checkpoint) == {"attempt": 2}, record
        ends = [one for one in h.of_type(h.Ended, events) if one.job == record.id]
        assert {one.attempt: one.how for one in ends} == {1: "LeaseLost", 2: "returned"}, ends


def assert_late_notes_refused(
    record: JobRecord, resumed_ns: int, events: Sequence[h.Event]
) -> None:
    """The first run went on telling after it came back, and no word of that is kept."""
    noted = [one for one in h.of_type(h.Noted, events) if one.job == record.id]
    assert any(one.attempt == 1 and one.at_ns > resumed_ns for one in noted), noted
    lines = [(int(attempt), int(at_ns)) for attempt, at_ns in map(str.split, record.log)]
    assert {attempt for attempt, _ in lines} == {1, 2}, record.log
    assert all(at_ns < resumed_ns for attempt, at_ns in lines if attempt == 1), record.log
    assert msgspec.json.decode(record.progress or b"{}") == {"attempt": 2}, record


def runner_stands_still(site: Site, publish: Publish) -> None:
    """Stop one runner for good, beside an idle worker that would take its jobs."""
    began = time.monotonic()
    worker, _ = site.start_ready("stalling"), site.start_ready("idle")
    jobs = site.enqueue(*(tasks.wait.call(3.0) for _ in range(4)))
    starts = [site.wait_started(job.id) for job in jobs]
    victim = starts[0].pid
    owner = worker if victim in worker.tree() else site.workers[1]
    site.fault("sigstop_runner", [victim])
    stopped_ns = h.boot_ns()
    processes.send([victim], signal.SIGSTOP)
    owner.wait_log("stood still for", within_s=10.0)
    told = {one.pid: one.silent_ms or 0 for one in owner.health().runners}
    assert told[victim] >= 2_500, told
    hit = {start.job for start in starts if start.pid == victim}
    site.wait_final([job.id for job in jobs], within_s=60)
    events, dump = site.check(leftovers=site.drain(*site.workers))
    publish(summarise("F08 stopped runner", events, dump, time.monotonic() - began), events)
    for job in jobs:
        record = dump.jobs[job.id]
        assert record.state is State.COMPLETED, record
        if job.id not in hit:
            assert len(record.attempts) == 1, record
            continue
        assert [attempt.outcome for attempt in record.attempts] == ["crashed", "succeeded"], record
        # A suspect: it ran again alone in a child, and nothing was charged.
        assert record.charges.suspect, record
        assert record.charges.crashes == 0, record
        again = next(s for s in h.of_type(h.Started, events) if (s.job, s.attempt) == (job.id, 2))
        assert again.at_ns - stopped_ns >= 5.0e9, (again, stopped_ns)
    assert f"runner {victim} has stood still" in owner.log(), owner.log()


def ten_leases(site: Site, long: int, publish: Publish) -> None:
    """Run jobs that outlast ten leases of 1 s, and jobs that become due after ten leases."""
    began = time.monotonic()
    workers = [site.start_ready() for _ in range(2)]
    jobs = site.enqueue(
        *(tasks.work.call(10.0) for _ in range(long // 2)),
        *(tasks.wait.call(10.0) for _ in range(long - long // 2)),
        *(tasks.alone.call(10.0) for _ in range(2)),
        *(tasks.wait.using(delay="10s").call() for _ in range(long)),
    )
    site.wait_final([job.id for job in jobs], within_s=60)
    events, dump = site.check(leftovers=site.drain(*workers))
    publish(summarise("F09 ten leases", events, dump, time.monotonic() - began), events)
    starts = [(start.job, start.attempt) for start in h.of_type(h.Started, events)]
    assert sorted(starts) == sorted((job.id, 1) for job in jobs)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    brokers: Brokers,
    count: Callable[[int, int], int],
    publish: Publish,
) -> Iterator[SideBySide]:
    """Start the scenarios of this module together: all of them wait most of the time."""
    folder, long, rounds = tmp_path_factory.mktemp("stop"), count(10, 50), count(1, ROUNDS)
    short_leases: dict[str, Any] = {
        "lease_ttl": "1s",
        "lease_extend": "250ms",
        "concurrency": str(long),
    }
    scenarios: dict[str, Callable[[], None]] = {}
    with ExitStack() as sites:
        for kind in KINDS:
            at = folder / kind
            scenarios[f"worker {kind}"] = partial(
                workers_come_back, kind, brokers, at / "worker", rounds, publish
            )
            url = brokers.url(kind, at / "leases")
            leases = sites.enter_context(Site(at / "leases", url=url, **short_leases))
            scenarios[f"leases {kind}"] = partial(ten_leases, leases, long, publish)
        # Who stands still and who sees it are of one host: the broker has no part in it.
        runner = sites.enter_context(Site(folder / "runner", **STALL))
        scenarios["runner"] = partial(runner_stands_still, runner, publish)
        with SideBySide(scenarios) as side_by_side:
            yield side_by_side


@pytest.mark.timeout(900)
def test_worker_that_comes_back_after_its_lease_writes_nothing(
    running: SideBySide, broker_kind: Kind
) -> None:
    """F08: the second run wins; whatever the first one still says is refused."""
    running.wait(f"worker {broker_kind}")


@pytest.mark.timeout(300)
def test_runner_that_stands_still_is_replaced_and_runs_nothing_twice(running: SideBySide) -> None:
    """F08: reported within 10 s; past its lease no second run while its supervisor lives."""
    running.wait("runner")


@pytest.mark.timeout(300)
def test_long_jobs_and_late_jobs_start_once(running: SideBySide, broker_kind: Kind) -> None:
    """F09: jobs of ten leases, and jobs due in ten leases, start exactly once each."""
    running.wait(f"leases {broker_kind}")
