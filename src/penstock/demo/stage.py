"""One demo from start to end: worker, jobs, kill, wait. What it shows goes to a `View`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from penstock.connect import connect, sqlite_url
from penstock.core.lifecycle import FINAL, State
from penstock.demo import tasks
from penstock.demo.story import Story
from penstock.demo.summary import Summary, summarise
from penstock.demo.worker import DemoWorker, serve
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker
    from penstock.demo.files import FileChoice
    from penstock.demo.view import View
    from penstock.job import Job

#: Seconds between two looks at the broker: often enough to look live, 20 small reads a second.
_LOOK_S: Final = 0.05
#: Seconds for the whole demo on a slow or busy machine; two idle cores need some ten.
_PATIENCE_S: Final = 300.0


class DemoStuck(PenstockError):
    """The jobs of the demo did not all end in time."""


class Roles(msgspec.Struct, frozen=True):
    """The jobs that the demo watches by name.

    Attributes:
        killed: loses its runner to SIGKILL.
        unsteady: fails twice, then succeeds.
        hopeless: always fails.
        merge: runs after all analysis jobs.
        total: jobs enqueued in all, the note of the kill not yet among them.
    """

    killed: Job[Any]
    unsteady: Job[Any]
    hopeless: Job[Any]
    merge: Job[Any]
    total: int


def play(choice: FileChoice, folder: Path, environ: Mapping[str, str], view: View) -> Summary:
    """Run the demo over `choice` with its files in `folder`, a new folder.

    Args:
        choice: what is analysed.
        folder: new and empty.
        environ: environment of this process, which the worker inherits.
        view: told what happens.

    Returns:
        The numbers, read from the broker after the worker has stopped.

    Raises:
        WorkerEnded: the worker ended early.
        DemoStuck: the jobs did not end in time; the worker is stopped, the database stays.
    """
    url = sqlite_url(folder / "penstock.db")
    broker = connect(url)
    # The broker of this process; the worker's runners open their own on the same file.
    tasks.app.install_enqueuer(broker)
    try:
        with serve(url, folder, environ) as worker:
            view.event(f"worker started: supervisor {worker.pid}, two runners")
            roles = _enqueue(choice, folder / "report.md", view)
            _watch(broker, roles, worker, view)
            view.event("all jobs are final; the worker is told to stop")
        return summarise(broker)
    finally:
        tasks.app.install_enqueuer(None)
        broker.close()


def _enqueue(choice: FileChoice, report: Path, view: View) -> Roles:
    began = time.monotonic()
    paths = list(choice.paths)
    killed, unsteady, hopeless = tasks.app.enqueue_many(
        [
            tasks.fingerprint.call(paths),
            tasks.unsteady.call(paths[0]),
            tasks.hopeless.call(paths[0]),
        ]
    )
    analyses = tasks.app.enqueue_many([tasks.analyse.call(path) for path in paths])
    merge = tasks.merge_all.using(after=analyses).enqueue([job.id for job in analyses], str(report))
    took_ms = 1000 * (time.monotonic() - began)
    total = len(analyses) + 4
    view.event(f"{total} jobs enqueued in {took_ms:.0f} ms, one per file and four more")
    return Roles(killed, unsteady, hopeless, merge, total)


def _watch(broker: Broker, roles: Roles, worker: DemoWorker, view: View) -> None:
    """Look on until every job is final, and kill the runner when its job is half way."""
    ends = time.monotonic() + _PATIENCE_S
    total, is_killed = roles.total, False
    story = Story()
    while True:
        worker.check()
        if not is_killed and _kill(roles.killed, worker, view):
            is_killed, total = True, total + 1  # the note of the kill is a job too
        watched = (roles.killed, roles.unsteady, roles.hopeless, roles.merge)
        for line in story.lines([job.record() for job in watched]):
            view.event(line)
        states = _states(broker)
        done = sum(count for state, count in states.items() if state in FINAL)
        view.tick(done, total, states)
        if done >= total:
            return
        if time.monotonic() > ends:
            raise DemoStuck(f"{total - done} of {total} jobs are not final after {_PATIENCE_S:g} s")
        time.sleep(_LOOK_S)


def _states(broker: Broker) -> dict[State, int]:
    found = dict.fromkeys(State, 0)
    for counts in broker.counts():
        for state in State:
            found[state] += getattr(counts, state)
    return found


def _kill(job: Job[Any], worker: DemoWorker, view: View) -> bool:
    """Kill the runner under the job once its checkpoint is in the broker; return whether it was."""
    record = job.record()
    if record.state is not State.RUNNING or record.checkpoint is None or not record.attempts:
        return False
    pid = record.attempts[-1].pid
    killed_at = time.time_ns() // 1_000_000
    if not worker.kill_runner(pid):
        return False
    view.event(f"SIGKILL to runner {pid}, in the middle of job {job.id}")
    tasks.kill_noted.enqueue(job.id, pid, killed_at)
    return True
