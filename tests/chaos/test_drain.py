"""F22: SIGTERM with short and long jobs, twice, at boot, in a claim and in a commit."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from penstock.core.job import Charges
from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support import history as h
from tests.support.brokers import KINDS
from tests.support.dump import Dump
from tests.support.site import GONE_S, Site
from tests.support.summary import Publish, Summary, combined, summarise
from tests.support.worker_process import WorkerProcess

#: Grace of these workers, and by how much a drained worker may outlast it, in seconds.
GRACE_S, LATE_S = 3.0, 2.0
#: Seconds for a worker that was told to release everything at once.
RELEASE_S = 2.0
#: Lone jobs among each hundred: enough that one is always being claimed, few enough to end soon.
LONE_AT_ONCE = 5
#: Jobs that fit into the grace, and jobs that do not.
SHORT_S, LONG_S = 1.0, 30.0
#: Jobs that wait at most, so that there is always one to claim.
AHEAD = 300
#: Drains side by side.
AT_ONCE = 3


def term(site: Site, worker: WorkerProcess, times: int = 1, *, at_boot: bool = False) -> float:
    """SIGTERM a worker, see it end with 0, and return how many seconds that took.

    `at_boot`: an interpreter that has not come up yet dies of the signal, as any program does; it
    must not have said a word by then.
    """
    site.fault("drain", worker.tree())
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    if times == 2:
        worker.wait_log("draining", within_s=GONE_S)
        worker.signal(signal.SIGTERM)
    code = worker.wait_exit(GRACE_S + GONE_S)
    died_unborn = at_boot and code == -signal.SIGTERM and worker.log() == ""
    assert code == 0 or died_unborn, worker.report()
    return time.monotonic() - began


def finish(site: Site, dump: Dump, began: float) -> Summary:
    """Sum up one drain."""
    return summarise("F22 drains", site.events(), dump, time.monotonic() - began)


def drain_with_jobs(site: Site, times: int) -> Summary:
    """Drain with short and long jobs of each kind running."""
    began = time.monotonic()
    worker = site.start_ready()
    kinds = (tasks.work, tasks.wait, tasks.alone)
    short = site.enqueue(*(kind.call(SHORT_S) for kind in kinds))
    long = site.enqueue(*(kind.call(LONG_S) for kind in kinds))
    for job in (*short, *long):
        site.wait_started(job.id)
    took_s = term(site, worker, times)
    assert took_s <= (GRACE_S + LATE_S if times == 1 else RELEASE_S), (took_s, worker.report())
    left = site.leftovers()
    assert left == (), left
    for job in long:
        # Claimable again at once, its place kept, nothing charged.
        record = site.record(job.id)
        assert record.state is State.QUEUED, record
        charges = record.charges
        assert (charges.errors, charges.crashes, charges.lost) == (0, 0, False), record
        assert record.attempts[-1].outcome == "interrupted", record
    for job in short:
        # A second signal releases at once what has not ended by then.
        ends = {State.COMPLETED} if times == 1 else {State.COMPLETED, State.QUEUED}
        assert site.record(job.id).state in ends, site.record(job.id)
    waiting = [job.id for job in (*long, *short)]
    for job_id in waiting:
        site.cancel(job_id)
    _, dump = site.check(leftovers=left)
    return finish(site, dump, began)


def drain_at_boot(site: Site, delay_s: float) -> Summary:
    """SIGTERM a worker some time after it was started, ready or not."""
    began = time.monotonic()
    jobs = site.enqueue(*(tasks.wait.call(0.2) for _ in range(4)))
    worker = site.start()
    site.wait_until(worker.started_ns + round(delay_s * 1e9))
    term(site, worker, at_boot=True)
    left = site.leftovers()
    for job in jobs:
        assert site.record(job.id).state in {State.QUEUED, State.COMPLETED}, site.record(job.id)
        site.cancel(job.id)
    _, dump = site.check(leftovers=left)
    return finish(site, dump, began)


def drain_under_load(site: Site, after_jobs: int) -> Summary:
    """SIGTERM a worker that claims and commits all the time, for its threads and for children."""
    began = time.monotonic()
    worker = site.start_ready()
    jobs: list[str] = []
    while (started := len(h.of_type(h.Started, site.events()))) < after_jobs:
        if len(jobs) - started > AHEAD:
            # A server takes jobs faster than a worker, and all must be run in the end.
            time.sleep(0.01)
            continue
        calls = [tasks.wait.call(0.0) for _ in range(100)]
        calls += [tasks.alone.call(0.0) for _ in range(LONE_AT_ONCE)]
        jobs += [job.id for job in site.enqueue(*calls)]
    took_s = term(site, worker)
    assert took_s <= GRACE_S + LATE_S, (took_s, worker.report())
    left = site.leftovers()
    again = site.start_ready()
    site.wait_final(jobs, within_s=60)
    for job in jobs:
        record = site.record(job)
        assert record.state is State.COMPLETED, record
        assert record.charges == Charges(), record
    term(site, again)
    _, dump = site.check(leftovers=(*left, *site.leftovers()))
    return finish(site, dump, began)


@pytest.mark.timeout(1_200)
def test_drains_are_in_time_and_cost_nothing(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    *,
    is_proof: bool,
) -> None:
    """Exit 0 within the grace plus 2 s; short jobs finish once, long ones are released free."""
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {
            kind: [
                pool.submit(drain)
                for drain in drains_of(
                    partial(make_site, on=kind),
                    rounds=count(1, 5),
                    # In `make test` one broker is enough: whether jobs are released by the second
                    # signal or after the grace is the same to the broker.
                    twice=is_proof or kind == "sqlite",
                    # From before the interpreter is up until well after the worker is ready.
                    boots_s=[0.02 + 0.05 * at for at in range(20)]
                    if is_proof
                    else [0.02 + 0.25 * place],
                )
            ]
            for place, kind in enumerate(KINDS)
        }
        totals = [
            combined("F22 drains", [one.result() for one in drains], time.monotonic() - began)
            for drains in running.values()
        ]
    for total in totals:
        publish(total)
    assert [total.lost for total in totals] == [0, 0, 0], totals


def drains_of(
    make_site: Callable[[str], Site], *, rounds: int, twice: bool, boots_s: Sequence[float]
) -> Iterator[Callable[[], Summary]]:
    """Yield the drains of one broker.

    Args:
        make_site: given a name.
        rounds: drains of each other kind.
        twice: whether a second signal is tried too.
        boots_s: how long after its start a worker gets the signal, one drain each.
    """
    for number in range(rounds):
        yield partial(drain_with_jobs, make_site(f"once-{number}"), 1)
        if twice:
            yield partial(drain_with_jobs, make_site(f"twice-{number}"), 2)
        yield partial(drain_under_load, make_site(f"load-{number}"), 300 + 37 * number)
    for number, delay_s in enumerate(boots_s):
        yield partial(drain_at_boot, make_site(f"boot-{number}"), delay_s)
