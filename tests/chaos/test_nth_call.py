"""F04: calls of supervisor, runner and client on the broker fail, and nothing is lost or repeated.

The port's own sweep, each call of a scripted life on each broker, is in the conformance suite; here
the calls are those that real processes make, at every part of the jobs' lives. Each call that fails
is one fault of the report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest

from penstock import App, Job
from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.task import Call
from penstock.testing import Fault, FaultyBroker
from penstock.testing import faulty as f
from tests.chaos import tasks
from tests.support import history as h
from tests.support.brokers import KINDS, Kind
from tests.support.checker import check
from tests.support.dump import take_dump
from tests.support.site import Site, key_of
from tests.support.summary import Publish, Summary, chaos_seed, combined, summarise
from tests.support.worker_process import ROOT

FAULTS = (Fault.REFUSE, Fault.LOSE_REPLY, Fault.TWICE)
ROLES = ("supervisor", "runner")
#: Where the module is that puts faults before a worker's broker.
FAULTY = Path(__file__).parent / "faulty"
#: Calls of one process that are swept one by one in the proof: more than a short life makes.
SWEPT = 40
LIVES_AT_ONCE = 3


def calls_of_a_life() -> Iterator[Call[Any]]:
    """Yield a job for every way of going on: at once, later, again, after another, alone."""
    for number in range(6):
        yield tasks.work.using(key=f"work-{number}", priority=number).call(0.05)
        yield tasks.wait.using(key=f"wait-{number}").call(0.05)
        yield tasks.wait.using(key=f"fail-{number}").call(0.02, fails=1 + number % 2)
    yield tasks.work.using(key="snooze").call(0.02, fails=1, snoozes=1)
    yield tasks.wait.using(key="later", delay="300ms").call(0.02)
    yield tasks.alone.using(key="alone").call(0.05)
    yield tasks.alone.using(key="alone later", delay="200ms").call(0.05)


def calls_to_cancel() -> Iterator[Call[Any]]:
    """Yield a job of each kind that only its cancel ends."""
    yield tasks.wait.using(key="held").call(600.0)
    yield tasks.alone.using(key="held").call(600.0)


def every_nth(every: int, site: Site) -> f.Plan:
    """Return a plan by which every `every`-th call fails, each in its turn, and is written down."""

    def plan(call: f.Call) -> Fault:
        if call.number % every != 0:
            return Fault.NONE
        fault = FAULTS[call.number // every % 3]
        site.fault(f"call_{fault}", ())
        return fault

    return plan


class AskedBroker(FaultyBroker):
    """A faulty broker that tells which jobs it was last asked to store.

    Attributes:
        asked: their ids, which the client draws and does not tell when the call fails.
    """

    asked: tuple[JobId, ...] = ()

    def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Store jobs, as the plan says."""
        self.asked = tuple(job.id for job in jobs)
        return super().enqueue(jobs, durability=durability)


class FaultyProducer:
    """Enqueues through an app whose broker fails, trying again until it is accepted."""

    def __init__(self, site: Site, broker: AskedBroker) -> None:
        """Put the broker into an app of its own."""
        self.site = site
        self.broker = broker
        self.app = App(site.url)
        self.app.include(tasks)
        self.app.install_enqueuer(broker)

    def enqueue(self, call: Call[Any]) -> Job[Any]:
        """Return the job once it is accepted; a key makes trying again safe after a lost reply."""
        key = key_of(call)
        while True:
            self.broker.asked = ()
            try:
                (job,) = self.app.enqueue_many([call])
            except Unavailable:
                self.failed("definite", key)
            except OutcomeUnknown:
                self.failed("unknown", key)
                assert key is not None, "a call without a key was lost: it may be there twice"
            else:
                self.site.accepted(job, call)
                return job

    def failed(self, kind: Literal["definite", "unknown"], key: str | None) -> None:
        """Write what the producer was told of the jobs that it asked for: none, before any id."""
        for job in self.broker.asked:
            self.site.history.append(h.EnqueueFailed(job=job, kind=kind, key=key))


def live(site: Site, faults: str) -> Summary:
    """Run one life with these faults in the worker, and check it."""
    began = time.monotonic()
    found_first = os.pathsep.join(
        [str(FAULTY), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    )
    worker = site.start(environment={"PYTHONPATH": found_first, "CHAOS_FAULTS": faults})
    producer = FaultyProducer(site, AskedBroker(site.broker, every_nth(5, site)))
    jobs = [producer.enqueue(call) for call in calls_of_a_life()]
    held = [producer.enqueue(call) for call in calls_to_cancel()]
    for job in held:
        site.wait_started(job.id)
        site.cancel(job.id)
    site.wait_final([job.id for job in (*jobs, *held)], within_s=60)
    events, dump = site.check(leftovers=site.drain(worker))
    refused = {one.job for one in h.of_type(h.EnqueueFailed, events) if one.kind == "definite"}
    assert refused, "no enqueue was refused: the producer's plan is not in place"
    is_mixed = faults.startswith("all:")
    assert not is_mixed or "by the plan" in worker.log(), "no call failed: the plan is not in place"
    kinds = {one.kind for one in h.of_type(h.Fault, events)}
    assert kinds >= {f"call_{fault}" for fault in FAULTS}, f"{kinds}: not all faults are counted"
    for job in jobs:
        assert dump.jobs[job.id].state is State.COMPLETED, (faults, dump.jobs[job.id])
    for job in held:
        assert dump.jobs[job.id].state is State.CANCELLED, (faults, dump.jobs[job.id])
    return summarise("F04 failing calls", events, dump, time.monotonic() - began)


@pytest.mark.timeout(3_600)
def test_failing_calls_lose_and_repeat_nothing(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    *,
    is_proof: bool,
) -> None:
    """Refused calls, lost replies and calls made twice excuse no lost attempt, at any call."""
    began = time.monotonic()
    # Every fourth call of all processes, three times over with the faults shifted against them.
    mixes = [f"all:mixed:{first}:4" for first in (2, 3, 5)]
    sweep = tuple(product(ROLES, FAULTS, range(1, count(0, SWEPT) + 1)))

    def plans_of(kind: Kind) -> list[str]:
        at = KINDS.index(kind)
        # In `make test` each broker does without another of the three mixes.
        mine = [mix for number, mix in enumerate(mixes) if number != at or is_proof]
        # Bound: a third of the sweep on each broker, so that the proof ends; other seeds run the
        # other thirds. The whole of it, on each broker and without processes, is the port's own.
        shares = [one for one in sweep if (one[2] + chaos_seed()) % len(KINDS) == at]
        return mine + [f"{role}:{fault}:{number}:0" for role, fault, number in shares]

    with ThreadPoolExecutor(LIVES_AT_ONCE) as pool:
        lives = {
            kind: [
                pool.submit(live, make_site(f"life-{number}", on=kind), faults)
                for number, faults in enumerate(plans_of(kind))
            ]
            for kind in KINDS
        }
        totals = [
            combined("F04 failing calls", [one.result() for one in rows], time.monotonic() - began)
            for rows in lives.values()
        ]
    for total in totals:
        publish(total)
    assert {(total.lost, total.repeated) for total in totals} == {(0, 0)}, totals


class LyingBroker(AskedBroker):
    """A broker that stores a job and says, once, that it did not: the defect that I8 is about."""

    has_lied = False

    def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Store jobs, and deny the first."""
        answers = super().enqueue(jobs, durability=durability)
        if not self.has_lied:
            self.has_lied = True
            raise Unavailable("nothing was written, says the lie")
        return answers


def test_a_stored_job_that_was_refused_is_seen(make_site: Callable[..., Site]) -> None:
    """The producer's history names the refused job, so that the checker finds it stored."""
    site = make_site()
    producer = FaultyProducer(site, LyingBroker(site.broker, lambda _: Fault.NONE))
    denied = tasks.work.call(0.0)
    accepted = producer.enqueue(denied)
    found = check(site.events(), take_dump(site.broker))
    seen = {one.job for one in found if one.invariant == "I8"}
    assert len(seen) == 1, found
    assert accepted.id not in seen
