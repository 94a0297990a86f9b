"""F17: hosts an hour apart, and clocks that are set while jobs run; leases do not notice."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from penstock import Job
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from tests.chaos import clock_tasks, tasks
from tests.chaos.clock_client import DELAY_MS
from tests.chaos.fleet_clocks import STEPS, Fleet
from tests.support import history as h
from tests.support import processes
from tests.support.brokers import KINDS, Brokers, Kind
from tests.support.checker import check, report
from tests.support.dump import Dump, take_dump
from tests.support.eventually import eventually
from tests.support.shifted_clock import HOUR_S
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish, chaos_seed, summarise

#: Seconds for what should be soon; a clock that counts shows as an hour.
SOON_S = 60.0
#: Milliseconds by which two readings of the same clock may differ here: one is rounded.
ROUNDED_MS = 2
#: A job that waits longer than the scenario lasts, and less than the clocks differ.
HALF_AN_HOUR = "30m"
#: On SQLite the window of a key ends by the clock of whoever enqueues next: two jobs may hold it.
NOT_ON_SQLITE = frozenset({"I9"})


def load_under_steps(fleet: Fleet, jobs: int) -> None:
    """Let the client enqueue, and set a clock whenever another part of its jobs has started."""
    site = fleet.site
    fleet.send("load", jobs)
    for number in range(len(STEPS)):
        part = jobs * (number + 1) // (len(STEPS) + 2)

        def enough(part: int = part) -> bool:
            return len(h.of_type(h.Started, site.events())) >= part

        eventually(enough, within_s=SOON_S, what=f"{part} starts", state=site.report, every_s=0.05)
        fleet.step()
        if number == len(STEPS) // 2:
            fleet.client_clock.step(-2 * HOUR_S)
    assert fleet.receive() == jobs
    fleet.client_clock.step(2 * HOUR_S)


def nothing_is_early_or_late(site: Site, fleet: Fleet) -> None:
    """Jobs of a server are due, expire, are unique and are kept by the server's clock alone."""
    held = hold_back(site)
    (at_once,) = site.enqueue(
        tasks.wait.using(run_at=datetime.now(UTC) + timedelta(seconds=1)).call()
    )
    enqueue_key(site)
    assert fleet.ask("repeat") is True
    assert fleet.ask("keep_house") == {"promote": 0, "expire": 0, "prune": 0}
    site.wait_final([at_once.id], within_s=SOON_S)
    assert {site.record(job.id).state for job in held} == {State.SCHEDULED}
    for job in held:
        assert site.cancel(job.id) == "cancelled"


def whoever_looks_decides(site: Site, fleet: Fleet) -> None:
    """On SQLite the worker that is ahead finds jobs due, or too late, by its own clock."""
    waits, expires = hold_back(site)
    enqueue_key(site)
    assert fleet.ask("repeat") is False
    site.wait_final([waits.id, expires.id], within_s=SOON_S)
    assert site.record(waits.id).state is State.COMPLETED
    assert site.record(expires.id).state is State.EXPIRED


def hold_back(site: Site) -> list[Job[tasks.Report]]:
    """Enqueue, on true time, one job that is due and one that expires in half an hour."""
    waits = tasks.wait.using(delay=HALF_AN_HOUR).call()
    expires = tasks.wait.using(delay="3h", expires=HALF_AN_HOUR).call()
    return site.enqueue(waits, expires)


def enqueue_key(site: Site) -> None:
    """Use the key that the client uses again."""
    site.enqueue(clock_tasks.once_in_half_an_hour.using(key="k").call())


def lease_runs_out_in_time(site: Site, fleet: Fleet) -> None:
    """A worker that stands still is taken over when its lease is over, whatever clocks are set to.

    The lease is asked for just after the stop, by the clock that counts it.
    """
    told = site.folder / "told"
    told.mkdir()
    # More than two workers have threads for, their light lanes among them: each has some.
    jobs = [job.id for job in site.enqueue(*[clock_tasks.hold_once.call(str(told))] * 15)]
    first = {job: site.wait_started(job) for job in jobs}
    victim = fleet.workers[1]
    mine = [job for job, start in first.items() if start.pid in victim.tree()]
    assert mine, f"the worker got no job\n{site.report()}"
    stopped, leases, now_ns = fleet.stop(victim)
    for job in set(jobs) - set(mine):
        (told / job).touch()
    for clock in (fleet.clocks[0], fleet.clocks[2], fleet.client_clock):
        clock.step(HOUR_S)
    left_ms = min(lease.expires_in_ms or 0 for lease in leases)
    for job in mine:
        taken_ms = (site.wait_started(job, attempt=2).at_ns - now_ns) / 1e6
        assert taken_ms >= left_ms - ROUNDED_MS, f"{job} after {taken_ms} of {left_ms} ms"
    for job in mine:
        (told / job).touch()
    processes.send(stopped, signal.SIGCONT)
    site.wait_final(jobs, within_s=SOON_S)
    assert {job for job in jobs if site.record(job).claim_number > 1} == set(mine)


def started_by_the_server(record: JobRecord, began_ms: float) -> None:
    """One job of the load was due, and tried again, when the server's clock said so.

    Args:
        record: of the job.
        began_ms: its first start, by true time.
    """
    attempts = record.attempts
    assert abs(began_ms - record.enqueued_at) < SOON_S * 1000, record
    if record.spec.task.endswith("fail_once"):
        waited_ms = attempts[1].started_at - (attempts[0].ended_at or 0)
        assert clock_tasks.BACKOFF_S * 1000 - ROUNDED_MS <= waited_ms < SOON_S * 1000, record


def run(site: Site, jobs: int, publish: Publish, *, kind: Kind) -> None:
    """Go through the scenario on one broker."""
    began = time.monotonic()
    with Fleet(site, chaos_seed()) as fleet:
        before_s, client_s, after_s = time.time(), fleet.ask("now"), time.time()
        assert before_s <= client_s - HOUR_S <= after_s, "the client's clock is not shifted"
        load_under_steps(fleet, jobs)
        accepted = [one.job for one in h.of_type(h.Accepted, site.events())]
        site.wait_final(accepted, within_s=SOON_S)
        assert_each_ran_once(site, accepted, by_server=kind != "sqlite")
        (whoever_looks_decides if kind == "sqlite" else nothing_is_early_or_late)(site, fleet)
        lease_runs_out_in_time(site, fleet)
        leftovers = site.drain(*site.workers)
    events, dump = site.events(), take_dump(site.broker, leftovers=leftovers)
    exempt = NOT_ON_SQLITE if kind == "sqlite" else frozenset[str]()
    broken = [one for one in check(events, dump) if one.invariant not in exempt]
    assert not broken, report(broken, f"in {site.folder}\n{site.report()}")
    assert_no_cause_but_the_stop(dump, site)
    publish(summarise("F17 clocks", events, dump, time.monotonic() - began), events)


def assert_each_ran_once(site: Site, jobs: list[str], *, by_server: bool) -> None:
    """Every job of the load ran once, or once more after it failed; no lease ran out early."""
    offset_ms = (time.time_ns() - h.boot_ns()) / 1e6
    began_ms: dict[str, list[float]] = defaultdict(list)
    for start in h.of_type(h.Started, site.events()):
        began_ms[start.job].append(start.at_ns / 1e6 + offset_ms)
    delayed = 0
    for job in jobs:
        record = site.record(job)
        runs = 2 if record.spec.task.endswith("fail_once") else 1
        assert (record.state, len(began_ms[job])) == (State.COMPLETED, runs), record
        if by_server:
            started_by_the_server(record, began_ms[job][0])
            delayed += record.attempts[0].started_at - record.enqueued_at >= DELAY_MS
    assert not by_server or delayed > 0, "no delayed job was seen to wait"


def assert_no_cause_but_the_stop(dump: Dump, site: Site) -> None:
    """No attempt was lost but those of the worker that was stopped."""
    stopped = {pid for one in h.of_type(h.Fault, site.events()) for pid in one.pids}
    for record in dump.jobs.values():
        lost = [one.pid for one in record.attempts if one.outcome in ("lost", "crashed")]
        assert set(lost) <= stopped, record


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    brokers: Brokers,
    count: Callable[[int, int], int],
    publish: Publish,
) -> Iterator[SideBySide]:
    """Start the scenario on each broker: all of them wait most of the time."""
    folder, jobs = tmp_path_factory.mktemp("clocks"), count(60, 1_000)
    with ExitStack() as stack:
        sites = {
            kind: stack.enter_context(Site(folder / kind, url=brokers.url(kind, folder / kind)))
            for kind in KINDS
        }
        scenarios: dict[str, Callable[[], object]] = {
            kind: partial(run, site, jobs, publish, kind=kind) for kind, site in sites.items()
        }
        yield stack.enter_context(SideBySide(scenarios))


@pytest.mark.timeout(600)
def test_clocks_an_hour_apart_and_set_in_mid_run(running: SideBySide, broker_kind: Kind) -> None:
    """F17: no lease ends early or late; a server's clock says when jobs are due."""
    running.wait(broker_kind)
