"""F20: soft and hard time limits against user code that will not end.

Limits are a matter between a worker and its own processes: in `make test` one broker stands for
all, in the proof each has its turn alone, since the lateness of a limit is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.tasks.options import CallOptions
from tests.chaos import tasks
from tests.support import history as h
from tests.support import processes
from tests.support.brokers import KINDS, Kind
from tests.support.eventually import eventually
from tests.support.side_by_side import on_each_broker
from tests.support.site import Site
from tests.support.summary import Publish, summarise

#: Limits of this file's jobs, in seconds.
SOFT_S, HARD_S = 0.5, 1.0
#: How late a limit may take effect, in seconds: the promises of the fault plan.
SOFT_LATE_S, HARD_LATE_S = 0.2, 1.0
#: Longer than any test: what ends these jobs is their limit.
FOR_EVER_S = 600.0


@pytest.mark.timeout(300)
def test_soft_limit_is_raised_once_and_in_time(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    *,
    is_proof: bool,
) -> None:
    """SoftTimeLimit comes once, within 0.2 s, in a thread, in a coroutine and alone in a child."""
    times, kinds = count(2, 10), KINDS if is_proof else KINDS[:1]
    on_each_broker(
        lambda kind: take_soft_limits(make_site("soft", on=kind), times, publish),
        kinds=kinds,
        at_once=1,
    )


def take_soft_limits(site: Site, times: int, publish: Publish) -> None:
    """Let jobs of each kind pass their soft limit."""
    began = time.monotonic()
    worker = site.start_ready()
    kinds = (tasks.tidy_up, tasks.tidy_up_in_loop, tasks.tidy_up_alone)
    jobs = site.enqueue(
        *(kind.using(soft_timeout=SOFT_S).call(1.2) for kind in kinds for _ in range(times))
    )
    site.wait_final([job.id for job in jobs], within_s=60)
    events, dump = site.check(leftovers=site.drain(worker))
    publish(summarise("F20 soft limits", events, dump, time.monotonic() - began), events)
    for job in jobs:
        limits = job.result()["limits_s"]
        assert len(limits) == 1, (dump.jobs[job.id].spec.task, limits)
        assert SOFT_S - 0.05 <= limits[0] <= SOFT_S + SOFT_LATE_S, (job, limits)


@pytest.mark.timeout(300)
def test_hard_limit_ends_what_will_not_end(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    *,
    is_proof: bool,
) -> None:
    """A second after its hard limit an attempt is over; its neighbours finish uncharged."""
    times, kinds = count(1, 3), KINDS if is_proof else KINDS[:1]

    def run(kind: Kind) -> None:
        site = make_site("hard", on=kind, kill_grace="500ms", concurrency="6")
        take_hard_limits(site, times, publish)

    on_each_broker(run, kinds=kinds, at_once=1)


def take_hard_limits(site: Site, times: int, publish: Publish) -> None:
    """Let jobs of each kind pass their hard limit, in whatever way they hold on."""
    began = time.monotonic()
    worker = site.start_ready()
    limited = CallOptions(timeout=HARD_S, retries=0)
    stubborn = [
        tasks.hang_in_loop.using(**limited).call(FOR_EVER_S),
        *(tasks.hang.using(**limited).call(how, FOR_EVER_S) for how in STUBBORN),
    ]
    neighbours = site.enqueue(*(tasks.wait.call(0.8) for _ in range(4)))
    alone = (tasks.hang_alone.using(**limited).call(how, FOR_EVER_S) for how in STUBBORN)
    jobs = site.enqueue(*alone)
    for call in stubborn * times:
        # One after the other: a limit that ends a shared runner must not be hidden by the next.
        (job,) = site.enqueue(call)
        jobs.append(job)
        start = site.wait_started(job.id)
        neighbours += site.enqueue(*(tasks.wait.call(0.3) for _ in range(2)))
        wait_gone(site, start)
    everything = [job.id for job in (*jobs, *neighbours)]
    site.wait_final(everything, within_s=60)
    assert worker.exit_code is None, worker.report()
    events, dump = site.check(leftovers=site.drain(worker))
    publish(summarise("F20 hard limits", events, dump, time.monotonic() - began), events)
    for job in jobs:
        record = dump.jobs[job.id]
        assert (record.state, record.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED), record
        assert record.attempts[-1].outcome == "timed_out", record
        lasted_s = ((record.attempts[-1].ended_at or 0) - record.attempts[-1].started_at) / 1000
        assert lasted_s <= HARD_S + HARD_LATE_S, record
    for job in neighbours:
        record = dump.jobs[job.id]
        assert record.state is State.COMPLETED, record
        assert (record.charges.errors, record.charges.crashes) == (0, 0), record


#: Ways to go on past a limit; "sleep" can be interrupted in a child, and not in a thread.
STUBBORN: tuple[tasks.Stubbornness, ...] = ("sleep", "hold_gil", "swallow_all")


def wait_gone(site: Site, start: h.Started) -> None:
    """Return once user code of an attempt has ended, by itself or with its process."""

    def is_gone() -> bool:
        if not processes.is_alive(start.pid):
            return True
        ends = h.of_type(h.Ended, site.events())
        return any((end.job, end.attempt) == (start.job, start.attempt) for end in ends)

    what = f"{start} to be ended by its limit"
    eventually(is_gone, within_s=30, what=what, state=lambda: site.report(start.job))
