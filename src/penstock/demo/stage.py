"""One demo from start to end: worker, jobs, kill, wait. What it shows goes to a `View`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
            jobs = _enqueue(choice, folder / "report.md", view)
            _Watch(broker, worker, view, jobs, choice.paths[0]).to_the_end()
            view.event("all jobs are final; the worker is told to stop")
        return summarise(broker)
    finally:
        tasks.app.install_enqueuer(None)
        broker.close()


def _enqueue(choice: FileChoice, report: Path, view: View) -> list[Job[Any]]:
    """Enqueue all jobs but those that follow the kill; the last two are the ones to watch."""
    began = time.monotonic()
    paths = list(choice.paths)
    killed = tasks.fingerprint.enqueue(paths)
    analyses = tasks.app.enqueue_many([tasks.analyse.call(path) for path in paths])
    merge = tasks.merge_all.using(after=analyses).enqueue([job.id for job in analyses], str(report))
    took_ms = 1000 * (time.monotonic() - began)
    view.event(f"{len(paths) + 2} jobs enqueued in {took_ms:.0f} ms, one per file and two more")
    return [*analyses, killed, merge]


class _Watch:
    """Looks on until every job is final, and kills the runner when its job is half way."""

    def __init__(
        self, broker: Broker, worker: DemoWorker, view: View, jobs: Sequence[Job[Any]], path: str
    ) -> None:
        self._broker = broker
        self._worker = worker
        self._view = view
        self._path = path
        self._total = len(jobs)
        self._killed, merge = jobs[-2:]
        self._watched = [self._killed, merge]
        self._is_killed = False
        self._story = Story()

    def to_the_end(self) -> None:
        """Return when every job is final. Raises WorkerEnded and DemoStuck."""
        ends = time.monotonic() + _PATIENCE_S
        while (left := self._look()) > 0:
            if time.monotonic() > ends:
                raise DemoStuck(
                    f"{left} of {self._total} jobs are not final after {_PATIENCE_S:g} s: see the "
                    "worker's log and `penstock jobs` on the demo's database"
                )
            time.sleep(_LOOK_S)

    def _look(self) -> int:
        """Show what is new; return how many jobs are not final."""
        self._worker.check()
        if not self._is_killed:
            self._is_killed = self._kill()
        for line in self._story.lines([job.record() for job in self._watched]):
            self._view.event(line)
        states = dict.fromkeys(State, 0)
        for counts in self._broker.counts():
            for state in State:
                states[state] += getattr(counts, state)
        done = sum(count for state, count in states.items() if state in FINAL)
        self._view.tick(done, self._total, states)
        return self._total - done

    def _kill(self) -> bool:
        """Kill the runner under the job once its checkpoint is in the broker; tell whether it was.

        What follows is enqueued then, so that nothing but analyses runs beside the killed job.
        """
        record = self._killed.record()
        if record.state is not State.RUNNING or record.checkpoint is None or not record.attempts:
            return False
        pid = record.attempts[-1].pid
        killed_at = time.time_ns() // 1_000_000
        if not self._worker.kill_runner(pid):
            return False
        self._view.event(f"SIGKILL to runner {pid}, in the middle of job {record.id}")
        followers = tasks.app.enqueue_many(
            [
                tasks.kill_noted.call(record.id, pid, killed_at),
                tasks.unsteady.call(self._path),
                tasks.hopeless.call(self._path),
            ]
        )
        self._watched += followers[1:]
        self._total += len(followers)
        return True
