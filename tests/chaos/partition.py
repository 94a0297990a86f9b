"""F10, over any line that can be cut: a worker has no broker for three leases while its jobs run.

What is between the two is a `Line`: the fault proxy, or a link of a network namespace.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from penstock.core.lifecycle import State
from penstock.core.partition import margin_ms
from penstock.task import Call
from tests.chaos import tasks
from tests.support import history as h
from tests.support.dump import Dump
from tests.support.eventually import eventually
from tests.support.fault_proxy import FaultProxy
from tests.support.ledger import keep_ledger
from tests.support.site import Site
from tests.support.summary import Publish, summarise
from tests.support.worker_process import WorkerProcess

#: Milliseconds of a lease here.
TTL_MS = 2_000
#: Leases for which the worker is cut off (F10).
LEASES = 3
#: Exclusive jobs at once: each is a child of its own.
GUARDS = 4
#: Seconds for what should happen.
SOON_S = 60.0


class Line(Protocol):
    """What lies between one worker and the broker."""

    #: What it is, for the report.
    title: str

    def start_worker(self, site: Site, **settings: str) -> WorkerProcess:
        """Start a worker at the other end, and return once it takes jobs."""

    def cut(self) -> None:
        """Let nothing through, either way, and tell nobody."""

    def heal(self) -> None:
        """Let everything through again."""


class ProxyLine:
    """A line that leads through the fault proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        """Lead through this one, which stands before the broker of the site."""
        self.title = "partition"
        self._proxy = proxy

    def start_worker(self, site: Site, **settings: str) -> WorkerProcess:
        """Start a worker that knows the proxy alone."""
        return site.start_ready("cut", url=self._proxy.through(site.url), **settings)

    def cut(self) -> None:
        """Be a black hole."""
        self._proxy.swallow(calls=True, replies=True)

    def heal(self) -> None:
        """Let everything pass."""
        self._proxy.mend()


def cut_off(
    site: Site, line: Line, worker: WorkerProcess, calls: Sequence[Call[Any]]
) -> tuple[list[str], int]:
    """Run jobs in a worker, cut its line for three leases; return the jobs and when that was."""
    jobs = [str(job.id) for job in site.enqueue(*calls)]
    for job in jobs:
        site.wait_started(job)
    other = site.start_ready("other")
    site.fault("partition", worker.tree())
    at_ns = h.boot_ns()
    line.cut()
    site.wait_until(at_ns + LEASES * TTL_MS * 1_000_000)
    line.heal()
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


def jobs_go_on(site: Site, line: Line, count: int, publish: Publish) -> None:
    """The default: first runs go on and are refused, second runs win."""
    began = time.monotonic()
    worker = line.start_worker(site)
    calls = [tasks.narrate.call((LEASES + 1) * TTL_MS / 1000) for _ in range(count)]
    jobs, _ = cut_off(site, line, worker, calls)

    def refused() -> bool:
        replies = h.of_type(h.FinishReplied, site.events())
        told = {one.job for one in replies if one.attempt == 1 and one.reply == "lease_lost"}
        return told >= set(jobs)

    eventually(refused, within_s=SOON_S, what="first runs to be refused", state=site.report)
    events, dump = finish(site, jobs)
    row = summarise(f"F10 {line.title}, continue", events, dump, time.monotonic() - began)
    assert (row.lost, row.repeated, row.starts) == (0, count, 2 * count), row
    publish(row, events)


def jobs_are_killed(site: Site, line: Line, count: int, publish: Publish) -> None:
    """Exclusive jobs: dead before the lease can have run out, and then run again elsewhere."""
    began = time.monotonic()
    worker = line.start_worker(site, concurrency=str(count))
    calls = [tasks.guard.call(600.0) for _ in range(count)]
    jobs, at_ns = cut_off(site, line, worker, calls)
    events, dump = finish(site, jobs)
    assert "exclusive or on_partition asks for" in worker.log(), worker.report()
    dead_ms = [dead_after_ms(events, job, at_ns) for job in jobs]
    # It could not extend after the cut, so that the lease ran for one time more at most.
    assert max(dead_ms) < TTL_MS, (dead_ms, "to be at most", TTL_MS - margin_ms(TTL_MS))
    row = summarise(f"F10 {line.title}, kill", events, dump, time.monotonic() - began)
    assert (row.lost, row.repeated, row.starts) == (0, count, 2 * count), row
    publish(row, events)


def dead_after_ms(events: Sequence[h.Event], job: str, at_ns: int) -> float:
    """Return when a job's first run was last alive; it was so before the second one started."""
    ledger = keep_ledger(events).jobs[job]
    first, second = ledger.starts
    alive = [at for at in ledger.lives if at.event.attempt == first.event.attempt]
    assert alive[-1].event.at_ns > at_ns, "it died before it was cut off"
    assert alive[-1].place < second.place, f"{job}: two runs overlapped"
    assert alive[-1].event.at_ns < second.event.at_ns
    return (alive[-1].event.at_ns - at_ns) / 1e6
