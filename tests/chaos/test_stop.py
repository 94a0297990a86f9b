"""F08: processes that stand still past their lease and come back, and runners that stand still."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support import history as h
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish, Summary, combined, summarise
from tests.support.worker_process import WorkerProcess

#: Leases are 2 s here; a worker stands still for two and a half.
STOPPED_S = 5.0
#: Jobs that run in a worker when it is stopped: they fit into its slots for coroutines.
JOBS = 35
#: Settings for a runner that stands still: reported after 2.5 s (beats come each
#: second), replaced after 6 s.
STALL: dict[str, Any] = {"runner_stall_report": "2500ms", "runner_stall_kill": "6s"}


def stop(site: Site, worker: WorkerProcess) -> list[int]:
    """SIGSTOP a worker's whole tree and return its pids."""
    stopped = processes.stop_tree(worker.pid)
    site.fault("sigstop", stopped)
    return stopped


def workers_come_back(folder: Path, rounds: int, publish: Publish) -> None:
    """Stop one worker after the other past its lease."""
    began = time.monotonic()
    rows = []
    for number in range(rounds):
        with Site(folder / str(number)) as site:
            rows.append(worker_comes_back(site))
    publish(combined("F08 stopped workers", rows, time.monotonic() - began))


def worker_comes_back(site: Site) -> Summary:
    """Stop a whole worker past its lease, let another run its jobs, and let it go on."""
    began = time.monotonic()
    stalled = site.start_ready("stalled")
    # Some second runs have ended when the first worker comes back, some are still under way.
    lengths = [1.5 + 4.0 * number / JOBS for number in range(JOBS)]
    jobs = site.enqueue(*(tasks.wait.call(length) for length in lengths))
    first = {job.id: site.wait_started(job.id) for job in jobs}
    stopped = stop(site, stalled)
    until_ns = h.boot_ns() + round(STOPPED_S * 1e9)
    site.start_ready("second")
    for job in jobs:
        site.wait_started(job.id, attempt=2)
    site.wait_until(until_ns)
    processes.send(stopped, signal.SIGCONT)
    # The first runs end now, in a runner that lives: each writes its effect and its result.
    ends: dict[str, int] = {job.id: 1 for job in jobs}

    def first_runs_ended() -> bool:
        for end in h.of_type(h.Ended, site.events()):
            if end.attempt == 1:
                ends.pop(end.job, None)
        return not ends

    what = "the first runs to end after the worker came back"
    eventually(first_runs_ended, within_s=30, what=what, state=site.report)
    site.wait_final([job.id for job in jobs], within_s=60)
    events, dump = site.check(leftovers=site.drain(*site.workers))
    for job in jobs:
        record = dump.jobs[job.id]
        outcomes = [(attempt.outcome, attempt.pid) for attempt in record.attempts]
        assert [outcome for outcome, _ in outcomes] == ["lost", "succeeded"], record
        assert outcomes[1][1] != first[job.id].pid, record
        assert job.result()["attempt"] == 2
    # It was told so, and said so.
    assert "lease lost" in stalled.log(), stalled.log()
    return summarise("F08 stopped workers", events, dump, time.monotonic() - began)


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
    """Run jobs that outlast ten leases, and jobs that become due after ten leases."""
    began = time.monotonic()
    workers = [site.start_ready() for _ in range(2)]
    jobs = site.enqueue(
        *(tasks.work.call(5.0) for _ in range(long // 2)),
        *(tasks.wait.call(5.0) for _ in range(long - long // 2)),
        *(tasks.alone.call(5.0) for _ in range(2)),
        *(tasks.wait.using(delay="5s").call() for _ in range(long)),
    )
    site.wait_final([job.id for job in jobs], within_s=60)
    events, dump = site.check(leftovers=site.drain(*workers))
    publish(summarise("F09 ten leases", events, dump, time.monotonic() - began), events)
    starts = [(start.job, start.attempt) for start in h.of_type(h.Started, events)]
    assert sorted(starts) == sorted((job.id, 1) for job in jobs)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    count: Callable[[int, int], int],
    publish: Publish,
) -> Iterator[SideBySide]:
    """Start the scenarios of this module together: all of them wait most of the time."""
    folder, long = tmp_path_factory.mktemp("stop"), count(10, 50)
    short_leases: dict[str, Any] = {
        "lease_ttl": "500ms",
        "lease_extend": "125ms",
        "concurrency": str(long),
    }
    with (
        Site(folder / "runner", **STALL) as runner,
        Site(folder / "leases", **short_leases) as leases,
    ):
        scenarios = {
            "worker": partial(workers_come_back, folder / "worker", count(1, 15), publish),
            "runner": partial(runner_stands_still, runner, publish),
            "leases": partial(ten_leases, leases, long, publish),
        }
        with SideBySide(scenarios) as side_by_side:
            yield side_by_side


@pytest.mark.timeout(900)
def test_worker_that_comes_back_after_its_lease_writes_nothing(running: SideBySide) -> None:
    """F08: the second run wins; whatever the first one still says is refused."""
    running.wait("worker")


@pytest.mark.timeout(300)
def test_runner_that_stands_still_is_replaced_and_runs_nothing_twice(running: SideBySide) -> None:
    """F08: reported within 10 s; past its lease no second run while its supervisor lives."""
    running.wait("runner")


@pytest.mark.timeout(300)
def test_long_jobs_and_late_jobs_start_once(running: SideBySide) -> None:
    """F09: jobs of ten leases, and jobs due in ten leases, start exactly once each."""
    running.wait("leases")
