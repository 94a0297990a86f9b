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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import pytest

from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support import history as h
from tests.support.site import Site
from tests.support.summary import Publish, Summary, combined, summarise

#: The promises, in seconds from the start of the new worker.
SAME_HOST_S = 2.0
LOST_HOST_S = 15.0
#: The slow case: a reaper holds one lease (12 s) after a gap, looks each second, and starts up.
AFTER_GAP_S = 15.0
#: Seconds without any reaper that make a gap: more than half a lease.
GAP_S = 6.5
#: Lost hosts at once: they wait for their leases side by side, but all start on the same two cores.
WAVE = 5
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


@pytest.mark.timeout(3_600)
def test_killed_job_runs_again_soon(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """On the same host each killed job runs again within 2 s, of a lost host within 15 s."""
    began = time.monotonic()
    lost_hosts, same_hosts, gaps = count(5, 20), count(5, 100), count(0, 5)
    is_up: SimpleQueue[Site] = SimpleQueue()
    # Those that wait for leases to run out do so side by side; once they only wait, the others,
    # which need the processor, run one by one, each ending its job while the next one is killed.
    with ThreadPoolExecutor(WAVE) as pool, ThreadPoolExecutor(ENDING) as ending:
        gone = [
            pool.submit(lose, site, site.door.move_to_other_boot, is_up)
            for site in [make_site(f"lost-{number}", timers={}) for number in range(lost_hosts)]
        ]
        slow = [
            pool.submit(lose, site, site.door.move_to_other_namespace, is_up, GAP_S)
            for site in [make_site(f"gap-{number}", timers={}) for number in range(gaps)]
        ]
        for _ in range(WAVE):
            is_up.get(timeout=60)
        same = []
        for number in range(same_hosts):
            site = make_site(f"same-{number}", timers={})
            same.append(ending.submit(finish, site, *kill_and_restart(site)))
        ways = [
            ("recovery, same host", same, same_hosts, SAME_HOST_S),
            ("recovery, lost host", gone, lost_hosts, LOST_HOST_S),
            ("recovery, after a gap", slow, gaps, AFTER_GAP_S),
        ]
        found = [
            (table_row(name, [one.result() for one in reruns], began), runs, within_s)
            for name, reruns, runs, within_s in ways
        ]
    for row, _, _ in found:
        publish(row)
    for row, runs, within_s in found:
        assert_row(row, runs, within_s)
