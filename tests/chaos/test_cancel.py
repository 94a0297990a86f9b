"""F21: cancel in every state, and in a thousand races with claims and completions."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock import Job
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support import history as h
from tests.support.eventually import eventually
from tests.support.side_by_side import on_each_broker
from tests.support.site import Site
from tests.support.summary import Publish, chaos_seed, summarise

#: Longer than any test: what ends these jobs is their cancel.
FOR_EVER_S = 600.0


@pytest.mark.timeout(300)
def test_cancel_in_every_state(make_site: Callable[..., Site], publish: Publish) -> None:
    """A waiting job never starts again, a running one is told, a final one keeps its state."""
    on_each_broker(lambda kind: cancel_in_every_state(make_site("states", on=kind), publish))


def cancel_in_every_state(site: Site, publish: Publish) -> None:
    """Bring a job into each state, and cancel it there."""
    began = time.monotonic()
    worker = site.start_ready()
    site.broker.register(["paused"])
    site.broker.pause("paused")
    (running,) = site.enqueue(tasks.wait.call(FOR_EVER_S))
    (in_thread,) = site.enqueue(tasks.work.call(FOR_EVER_S))
    (in_child,) = site.enqueue(tasks.alone.call(FOR_EVER_S))
    (completed,) = site.enqueue(tasks.work.call())
    (retrying,) = site.enqueue(tasks.ask_again_later.call(FOR_EVER_S))
    (scheduled,) = site.enqueue(tasks.work.using(delay="1h").call())
    (queued,) = site.enqueue(tasks.work.using(queue="paused").call())
    (blocked,) = site.enqueue(tasks.work.using(after=scheduled).call())
    under_way = [running, in_thread, in_child]
    for job in (*under_way, completed, retrying):
        site.wait_started(job.id)
    site.wait_final([completed.id], within_s=10)
    wait_state(site, retrying, State.RETRYING)

    answers = {job.id: site.cancel(job.id) for job in (scheduled, queued, retrying, completed)}
    assert list(answers.values()) == ["cancelled", "cancelled", "cancelled", "too_late"]
    # Its parent is cancelled: so is the child, and a cancel of it comes too late.
    assert site.cancel(blocked.id) == "too_late"
    assert site.record(blocked.id).reason is Reason.PARENT_FAILED
    assert [site.cancel(job.id) for job in under_way[:1]] == ["requested"]
    site.wait_final([running.id], within_s=10)
    # A sleeping thread is only told at its next bytecode; alone in a child it is told at once.
    assert site.cancel(in_child.id) == "requested"
    site.wait_final([in_child.id], within_s=15)
    assert site.cancel(in_thread.id) == "requested"
    site.wait_final([in_thread.id], within_s=30)
    events, dump = site.check(leftovers=site.drain(worker))
    publish(summarise("F21 every state", events, dump, time.monotonic() - began), events)
    for job in (*under_way, scheduled, queued, retrying):
        record = dump.jobs[job.id]
        assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR), record
    assert dump.jobs[completed.id].state is State.COMPLETED


def wait_state(site: Site, job: Job[object], state: State) -> None:
    """Return once the broker has the job in `state`."""
    what = f"{job.id} to be {state}"
    look = lambda: site.record(job.id).state is state  # noqa: E731 - reads as the question
    eventually(look, within_s=10, what=what, state=lambda: site.report(job.id))


@pytest.mark.timeout(600)
def test_cancels_that_race_end_in_one_state(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """1,000 cancels against claims, ends and retries: one final state each, and no later start."""
    races = count(1_000, 10_000)
    on_each_broker(lambda kind: race(make_site("races", on=kind), races, publish))


def race(site: Site, races: int, publish: Publish) -> None:
    """Cancel each of so many jobs at some instant of its life."""
    draw = random.Random(chaos_seed())
    began = time.monotonic()
    worker = site.start_ready()
    # A runner has its lease before it claims, and a quick broker would take all cancels by then.
    (first,) = site.enqueue(tasks.wait.call(0.0))
    site.wait_final([first.id], within_s=30)
    answers: Counter[str] = Counter()
    everything: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        while len(everything) < races:
            calls = [
                draw.choice((tasks.wait, tasks.work))
                .using(delay=draw.choice((None, None, "20ms")))
                .call(draw.choice((0.0, 0.005, 0.02)), fails=draw.choice((0, 0, 0, 1)))
                for _ in range(50)
            ]
            jobs = site.enqueue(*calls)
            everything += [job.id for job in jobs]
            for job in draw.sample(jobs, len(jobs)):
                time.sleep(draw.choice((0.0, 0.0, 0.001, 0.003)))
                pool.submit(site.cancel, job.id).add_done_callback(
                    lambda answer: answers.update([answer.result()])
                )
    site.wait_final(everything, within_s=60)
    events, dump = site.check(leftovers=site.drain(worker))
    publish(summarise("F21 races", events, dump, time.monotonic() - began), events)
    # All three answers were given, or these were no races.
    assert {"cancelled", "requested", "too_late"} <= set(answers), answers
    started = {start.job for start in h.of_type(h.Started, events)}
    told = {c.job for c in h.of_type(h.CancelReplied, events) if c.answer == "cancelled"}
    never_started = told - started
    assert never_started, "no cancel came before the first claim: the race is one-sided"
