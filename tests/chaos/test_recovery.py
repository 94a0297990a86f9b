"""The test that every peer fails: SIGKILL the whole worker 1 s into a 5 s job, start a new one.

Settings are those of production. Three ways to lose a worker, and what each costs at most:

- the same host, so that the new worker sees that the old processes are dead: 2 s from its start;
- the host is gone (another boot): its lease runs out one lease (12 s) after a reaper saw it: 15 s;
- a container of the same host is gone (another pid namespace) and nobody looked for a while, so
  that the grace window of a gap applies as well: one lease from the first look, on top of what had
  passed before it. This slow case is bounded and published, not promised to be quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import pytest

from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support import history as h
from tests.support.brokers import KINDS, Kind
from tests.support.site import Site
from tests.support.summary import Publish, Summary, combined, summarise

#: Ways of losing a worker, as the report has them.
SAME_HOST, LOST_HOST = "recovery, same host", "recovery, lost host"
AFTER_GAP = "recovery, after a gap"
#: The promises, in seconds from the start of the new worker. The slow case: a reaper holds one
#: lease (12 s) after a gap, looks each second, and starts up.
WITHIN_S = {SAME_HOST: 2.0, LOST_HOST: 15.0, AFTER_GAP: 15.0}
#: Seconds without any reaper that make a gap: more than half a lease.
GAP_S = 6.5
#: Lost hosts at once: they wait for their leases side by side, but all start on the same two cores.
WAVE = 6
#: Restarted workers whose job goes on to its end while the next one is killed: 5 s of sleep each.
ENDING = 6


def kill_in_mid_job(site: Site) -> str:
    """Run a 5 s job, SIGKILL the whole worker 1 s into it, and return the job."""
    worker = site.start_ready()
    (job,) = site.enqueue(tasks.work.call(5.0))
    start = site.wait_started(job.id)
    site.wait_until(start.at_ns + 1_000_000_000)
    site.kill(worker)
    return job.id


def wait_again(site: Site, job: str) -> float:
    """Return the seconds from the start of the newest worker to that of the second attempt."""
    start = site.wait_started(job, attempt=2, within_s=60)
    return (start.at_ns - site.workers[-1].started_ns) / 1e9


@dataclass(frozen=True)
class Rerun:
    """One lost worker: how soon its job ran again, and what was found at the end.

    Attributes:
        seconds: from the start of the new worker to that of the second attempt.
        counted: what history and dump of the site came to.
    """

    seconds: float
    counted: Summary


def finish(site: Site, job: str, seconds: float) -> Rerun:
    """Let the second attempt end, drain, check, and count what history and dump hold."""
    began = time.monotonic()
    site.wait_final([job], within_s=30)
    events, dump = site.check(leftovers=site.drain(site.workers[-1]))
    outcomes = [attempt.outcome for attempt in dump.jobs[job].attempts]
    assert (dump.jobs[job].state, outcomes) == (State.COMPLETED, ["lost", "succeeded"])
    return Rerun(seconds, summarise("recovery", events, dump, time.monotonic() - began))


def lose(
    site: Site, move: Callable[[], None], is_up: SimpleQueue[Site], gap_s: float = 0.0
) -> Rerun:
    """Lose a worker, start the next one, and see the job to its end.

    `move` says of the dead that they lived where nobody here can see them. `is_up` is told when the
    new worker is up and has nothing to do but wait.
    """
    job = kill_in_mid_job(site)
    move()
    if gap_s:
        site.wait_until(h.boot_ns() + round(gap_s * 1e9))
    site.start_ready()
    is_up.put(site)
    return finish(site, job, wait_again(site, job))


Found = tuple[Kind, str, Future[Rerun]]
"""On which broker a worker was lost, how, and what came of it."""


def kill_and_restart(site: Site) -> tuple[str, float]:
    """Kill a worker on this host and start another at once; return job and seconds to the rerun."""
    job = kill_in_mid_job(site)
    site.start()
    return job, wait_again(site, job)


def table_row(name: str, reruns: list[Rerun], began: float) -> Summary:
    """Return the row of one way of losing a worker: its counts are sums of what was found."""
    counted = combined(name, [rerun.counted for rerun in reruns], time.monotonic() - began)
    # Recovery is told from the start of the new worker, not from the kill.
    counted.recovery_ms = sorted(1000 * rerun.seconds for rerun in reruns)
    return counted


def assert_row(row: Summary, runs: int, within_s: float) -> None:
    """Each run accepted one job, lost none, and started it once more, soon enough."""
    assert (row.jobs, row.lost, row.repeated, row.starts) == (runs, 0, runs, 2 * runs), row
    assert max(row.recovery_ms, default=0) <= 1000 * within_s, row


@pytest.mark.alone
@pytest.mark.timeout(3_600)
def test_killed_job_runs_again_soon(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """On the same host each killed job runs again within 2 s, of a lost host within 15 s."""
    began = time.monotonic()
    is_up: SimpleQueue[Site] = SimpleQueue()
    found: list[Found] = []
    # Those that wait for leases to run out do so side by side; once they only wait, the others,
    # which need the processor, run one by one, each ending its job while the next one is killed.
    with ThreadPoolExecutor(WAVE) as pool, ThreadPoolExecutor(ENDING) as ending:
        for number in range(count(2, 20)):
            for kind in KINDS:
                site = make_site(f"lost-{number}", on=kind, timers={})
                move = site.door.move_to_other_boot
                found.append((kind, LOST_HOST, pool.submit(lose, site, move, is_up)))
        for number in range(count(0, 3)):
            for kind in KINDS:
                site = make_site(f"gap-{number}", on=kind, timers={})
                move = site.door.move_to_other_namespace
                found.append((kind, AFTER_GAP, pool.submit(lose, site, move, is_up, GAP_S)))
        for _ in range(WAVE):
            is_up.get(timeout=60)
        for number in range(count(2, 25)):
            for kind in KINDS:
                site = make_site(f"same-{number}", on=kind, timers={})
                rerun = ending.submit(finish, site, *kill_and_restart(site))
                found.append((kind, SAME_HOST, rerun))
        rows = table_rows(found, began)
    for row in rows:
        publish(row)
    for row in rows:
        runs = sum((kind, way) == (row.broker, row.scenario) for kind, way, _ in found)
        assert_row(row, runs, WITHIN_S[row.scenario])


def table_rows(found: Sequence[Found], began: float) -> list[Summary]:
    """Return a row for each broker and way of losing a worker."""
    reruns: dict[tuple[Kind, str], list[Rerun]] = {}
    for kind, way, rerun in found:
        reruns.setdefault((kind, way), []).append(rerun.result())
    return [table_row(way, mine, began) for (_, way), mine in reruns.items()]
