"""F10: a worker is cut off from its broker for three leases while its jobs run.

Jobs that go on are run again elsewhere, and what their first runs say is refused. Exclusive ones
are dead before their lease can have run out: no two runs of one overlap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.core.lifecycle import State
from penstock.core.partition import margin_ms
from penstock.task import Call
from tests.chaos import tasks
from tests.support import history as h
from tests.support.brokers import Kind
from tests.support.dump import Dump
from tests.support.eventually import eventually
from tests.support.fault_proxy import FaultProxy
from tests.support.ledger import keep_ledger
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish, summarise
from tests.support.worker_process import WorkerProcess

#: Milliseconds of a lease here.
TTL_MS = 2_000
#: Leases for which the worker is cut off (F10).
LEASES = 3
#: Exclusive jobs at once: each is a child of its own.
GUARDS = 4
SERVERS: tuple[Kind, ...] = ("redis", "postgres")
#: Seconds for what should happen.
SOON_S = 60.0


def cut_off(
    site: Site, proxy: FaultProxy, worker: WorkerProcess, calls: Sequence[Call[Any]]
) -> tuple[list[str], int]:
    """Run jobs in a worker behind the proxy, cut it off for three leases; return jobs and when."""
    jobs = [str(job.id) for job in site.enqueue(*calls)]
    for job in jobs:
        site.wait_started(job)
    other = site.start_ready("other")
    site.fault("partition", worker.tree())
    at_ns = h.boot_ns()
    proxy.swallow(calls=True, replies=True)
    site.wait_until(at_ns + LEASES * TTL_MS * 1_000_000)
    proxy.mend()
    site.wait_final(jobs, within_s=SOON_S)
    assert other.exit_code is None
    return jobs, at_ns


def finish(site: Site, jobs: Sequence[str]) -> tuple[list[h.Event], Dump]:
    """Drain, check, and see that each job completed by its second attempt, the first being lost."""
    events, dump = site.check(leftovers=site.drain(*site.workers))
    for job in jobs:
        record = dump.jobs[job]
        outcomes = [attempt.outcome for attempt in record.attempts]
        assert (record.state, outcomes) == (State.COMPLETED, ["lost", "succeeded"]), record
        assert (record.charges.crashes, record.charges.errors) == (0, 0), record
    return events, dump


def jobs_go_on(site: Site, proxy: FaultProxy, count: int, publish: Publish) -> None:
    """The default: first runs go on and are refused, second runs win."""
    began = time.monotonic()
    worker = site.start_ready("cut", url=proxy.through(site.url))
    calls = [tasks.narrate.call((LEASES + 1) * TTL_MS / 1000) for _ in range(count)]
    jobs, _ = cut_off(site, proxy, worker, calls)

    def refused() -> bool:
        replies = h.of_type(h.FinishReplied, site.events())
        told = {one.job for one in replies if one.attempt == 1 and one.reply == "lease_lost"}
        return told >= set(jobs)

    eventually(refused, within_s=SOON_S, what="first runs to be refused", state=site.report)
    events, dump = finish(site, jobs)
    row = summarise("F10 partition, continue", events, dump, time.monotonic() - began)
    assert (row.lost, row.repeated, row.starts) == (0, count, 2 * count), row
    publish(row, events)


def jobs_are_killed(site: Site, proxy: FaultProxy, count: int, publish: Publish) -> None:
    """Exclusive jobs: dead before the lease can have run out, and then run again elsewhere."""
    began = time.monotonic()
    worker = site.start_ready("cut", url=proxy.through(site.url), concurrency=str(count))
    calls = [tasks.guard.call(600.0) for _ in range(count)]
    jobs, at_ns = cut_off(site, proxy, worker, calls)
    events, dump = finish(site, jobs)
    assert "exclusive or on_partition asks for" in worker.log(), worker.report()
    dead_ms = [dead_after_ms(events, job, at_ns) for job in jobs]
    # It could not extend after the cut, so that the lease ran for one time more at most.
    assert max(dead_ms) < TTL_MS, (dead_ms, "to be at most", TTL_MS - margin_ms(TTL_MS))
    row = summarise("F10 partition, kill", events, dump, time.monotonic() - began)
    assert (row.lost, row.repeated, row.starts) == (0, count, 2 * count), row
    publish(row, events)


#: What `make test` runs.
IN_TEST = {(jobs_go_on, "postgres"), (jobs_are_killed, "redis")}


def dead_after_ms(events: Sequence[h.Event], job: str, at_ns: int) -> float:
    """Return when a job's first run was last alive; it was so before the second one started."""
    ledger = keep_ledger(events).jobs[job]
    first, second = ledger.starts
    alive = [at for at in ledger.lives if at.event.attempt == first.event.attempt]
    assert alive[-1].event.at_ns > at_ns, "it died before it was cut off"
    assert alive[-1].place < second.place, f"{job}: two runs overlapped"
    assert alive[-1].event.at_ns < second.event.at_ns
    return (alive[-1].event.at_ns - at_ns) / 1e6


@pytest.mark.timeout(600)
def test_a_partition_repeats_jobs_and_never_overlaps_exclusive_ones(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """F10, all at once: nothing is lost, each job is run twice, and none is charged.

    One way on each broker; in the proof both on both.
    """
    with ExitStack() as ends:
        scenarios: dict[str, Callable[[], None]] = {}
        for way, broker in product((jobs_go_on, jobs_are_killed), SERVERS):
            if count(0, 1) == 0 and (way, broker) not in IN_TEST:
                continue
            site = make_site(f"f10-{way.__name__}", on=broker)
            port = urlsplit(site.url).port
            assert port is not None
            proxy = ends.enter_context(FaultProxy(port))
            jobs = GUARDS if way is jobs_are_killed else count(8, 40)
            scenarios[f"{way.__name__} {broker}"] = partial(way, site, proxy, jobs, publish)
        with SideBySide(scenarios) as running:
            for name in scenarios:
                running.wait(name)
