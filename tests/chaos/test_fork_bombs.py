"""F19: jobs that start processes which do not want to end.

The bombs bound themselves, at 64 processes; in the proof, where root may, their worker is bound by
a group of the kernel as well (pids.max), so that a broken worker ends no machine.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.core.job import Reason
from tests.chaos import hog_tasks as tasks
from tests.support.eventually import eventually
from tests.support.site import Site
from tests.support.summary import Publish, summarise
from tests.support.worker_process import WorkerProcess

#: The hard limit of a bomb, in seconds, and how long after it all of it may be there.
HARD_S, LATE_S = 1.0, 1.0
#: Processes and threads that the worker of a proof may have.
PROCESSES_MAX = 200
#: Where version 1 of control groups counts processes.
PIDS = Path("/sys/fs/cgroup/pids")


@contextmanager
def bounded() -> Iterator[tuple[str, ...]]:
    """Return a command that runs another one in a group of few processes, where it can be made."""
    group = PIDS / f"penstock-test.{time.time_ns()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(PROCESSES_MAX))
    except OSError:
        yield ()
        return
    try:
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        eventually(lambda: removed(group), within_s=10, what="the group to be empty")


def removed(group: Path) -> bool:
    """Remove a group, if nothing is in it any more."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.timeout(300)
def test_bombs_are_gone_with_their_job(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    *,
    is_proof: bool,
) -> None:
    """A second after its hard limit nothing of a bomb is there, and the next job runs."""
    times = count(2, 20)
    with bounded() if is_proof else no_bound() as under:
        # Without a bound from outside nobody knows what would end first, the bomb or the machine.
        ways: tuple[tasks.Bomb, ...] = (
            ("tree", "daemon", "endless") if under else ("tree", "daemon")
        )
        for cgroups in ("auto", "off") if is_proof else ("auto",):
            began = time.monotonic()
            site = make_site(f"bombs-{cgroups}", kill_grace="200ms", cgroups=cgroups)
            site.app.include(tasks)
            worker = site.start("w0", under=under)
            site.wait_ready(worker)
            for how in itertools.islice(itertools.cycle(ways), times):
                set_off(site, how)
            number, _ = tasks.noted(site.folder)
            assert number >= tasks.BOMB_PROCESSES, "the bombs went off"
            events, dump = site.check(leftovers=site.drain(worker))
            name = f"F19 fork bombs {kind_of(worker, cgroups)}"
            publish(summarise(name, events, dump, time.monotonic() - began), events)


def set_off(site: Site, how: tasks.Bomb) -> None:
    """Run one bomb up to its hard limit, and see nothing left of it."""
    (job,) = site.enqueue(tasks.bomb.using(timeout=HARD_S).call(how))
    site.wait_final([job.id], within_s=30)
    _, alive = tasks.noted(site.folder)
    assert not alive, (how, alive)
    record = site.record(job.id)
    (attempt,) = record.attempts
    assert (attempt.outcome, record.reason) == ("timed_out", Reason.RETRIES_EXHAUSTED), record
    lasted_s = ((attempt.ended_at or 0) - attempt.started_at) / 1000
    assert lasted_s <= HARD_S + LATE_S, record


def kind_of(worker: WorkerProcess, cgroups: str) -> str:
    """Return how a worker finds what belongs to a job, as it says itself."""
    if "memory limits are enforced by control groups" in worker.log():
        return "in groups"
    return "by descent" if cgroups == "off" else "by descent, no groups here"


@contextmanager
def no_bound() -> Iterator[tuple[str, ...]]:
    """Return no command: the bombs bound themselves."""
    yield ()
