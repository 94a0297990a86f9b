"""F11: the broker is away for four leases while jobs run, and comes back: no job runs twice.

Its process is killed and started again, or nothing gets through to it: black hole, accept and hang.
Workers say so, let their jobs go on, and take new ones within seconds of its return.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support import history as h
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer, redis_in_memory
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish, summarise
from tests.support.worker_process import WorkerProcess

#: Seconds of a lease here, and the settings of a worker that has slots for all jobs at once.
TTL_S = 2.0
COROUTINES = "200"
#: Seconds: PostgreSQL may forget the claims of its last 0.6 s when it crashes (ADR-0017).
CLAIMS_ARE_KEPT_S = 1.5
#: Seconds from the broker's return until a new job has run: tries come every 5 s at most.
BACK_S = 10.0
SOON_S = 120.0
AWAY, BACK = "the broker does not answer", "the broker answers again"

Server = RedisServer | PostgresServer
Outage = Callable[[Server, FaultProxy], None]
"""Takes the broker away from everybody but the test, or brings it back."""


def kill(server: Server, _proxy: FaultProxy) -> None:
    """End the server as a crash does."""
    if isinstance(server, RedisServer):
        server.kill()
    else:
        server.stop()


def start(server: Server, _proxy: FaultProxy) -> None:
    """Start it again, on the same data."""
    server.start()


def swallow(_server: Server, proxy: FaultProxy) -> None:
    """Be a black hole."""
    proxy.swallow(calls=True, replies=True)


def hang(_server: Server, proxy: FaultProxy) -> None:
    """Accept connections and say nothing."""
    proxy.hang()
    proxy.cut()


def mend(_server: Server, proxy: FaultProxy) -> None:
    """Let everything pass again."""
    proxy.mend()


@contextmanager
def own_server(kind: str, folder: Path) -> Iterator[Server]:
    """Run a server for one scenario, which syncs what it accepts."""
    folder.mkdir()
    if kind == "redis":
        with redis_in_memory("--appendfsync", "always") as redis:
            yield redis
    else:
        with closing(PostgresServer()) as postgres:
            yield postgres


#: Name -> (broker, how it goes, how it comes back), and whether `make test` has it.
OUTAGES: dict[str, tuple[str, Outage, Outage]] = {
    "killed": ("redis", kill, start),
    "PostgreSQL killed": ("postgres", kill, start),
    "hanging": ("redis", hang, mend),
    "black hole": ("redis", swallow, mend),
    "PostgreSQL black hole": ("postgres", swallow, mend),
    "PostgreSQL hanging": ("postgres", hang, mend),
}
IN_TEST = ("killed", "PostgreSQL killed", "hanging")


def outage(folder: Path, name: str, jobs: int, outage_s: float, publish: Publish) -> None:
    """Take the broker away under jobs that run for longer than it is away."""
    kind, go, come_back = OUTAGES[name]
    began = time.monotonic()
    with (
        own_server(kind, folder) as server,
        FaultProxy(server.port) as proxy,
        Site(folder / "site", url=server.url, coroutines=COROUTINES) as site,
    ):
        # Two: each could take the other's jobs over.
        workers = [site.start_ready(each, url=proxy.through(site.url)) for each in ("one", "two")]
        calls = [tasks.wait.call(CLAIMS_ARE_KEPT_S + outage_s + 1.0) for _ in range(jobs)]
        running = [str(job.id) for job in site.enqueue(*calls)]
        started_ns = max(site.wait_started(job).at_ns for job in running)
        site.wait_until(started_ns + round(CLAIMS_ARE_KEPT_S * 1e9))
        site.fault("outage", ())
        go(server, proxy)
        site.wait_until(h.boot_ns() + round(outage_s * 1e9))
        assert all(AWAY in worker.log() for worker in workers), site.workers[0].log()
        come_back(server, proxy)
        back_ns = h.boot_ns()
        (late,) = site.enqueue(tasks.wait.call(0.0))
        seconds = (site.wait_started(late.id).at_ns - back_ns) / 1e9
        assert seconds < BACK_S, (name, seconds, site.report())
        finish(site, workers, running, late.id)
        events, dump = site.check(leftovers=site.drain(*workers))
        row = summarise(f"F11 {jobs} jobs, {name}", events, dump, time.monotonic() - began)
        publish(row, events)
        assert (row.lost, row.starts) == (0, jobs + 1), (name, row)


def finish(site: Site, workers: list[WorkerProcess], jobs: list[str], late: str) -> None:
    """See every job complete by its only attempt, and the workers well.

    The late one may have been claimed by who did not know yet that its lease holds again: it goes
    back then without having begun. That each job begins once is told by the starts.
    """
    site.wait_final([*jobs, late], within_s=SOON_S)
    last = site.record(late)
    assert (last.state, last.attempts[-1].outcome) == (State.COMPLETED, "succeeded"), last
    for worker in workers:
        worker.wait_log(BACK, within_s=SOON_S)
    for job in jobs:
        record = site.record(job)
        outcomes = [attempt.outcome for attempt in record.attempts]
        assert (record.state, outcomes) == (State.COMPLETED, ["succeeded"]), record


@pytest.mark.timeout(1_200)
def test_no_job_runs_twice_because_of_an_outage(
    tmp_path: Path, count: Callable[[int, int], int], publish: Publish
) -> None:
    """F11 for four leases; in the proof also GOAL05, 60 s with 200 jobs, for each way."""
    names = list(OUTAGES) if count(0, 1) else list(IN_TEST)
    scenarios = {
        name: partial(outage, tmp_path / f"f11-{name}", name, 40, 4 * TTL_S, publish)
        for name in names
    }
    with SideBySide(scenarios) as running:
        for name in scenarios:
            running.wait(name)
    # The proxies live in this process: six times 200 jobs at once would tell of its interpreter.
    for kind in ("redis", "postgres") if count(0, 1) else ():
        long = {
            name: partial(outage, tmp_path / f"goal05-{name}", name, 200, 60.0, publish)
            for name in names
            if OUTAGES[name][0] == kind
        }
        with SideBySide(long) as running:
            for name in long:
                running.wait(name)
