"""One worker over one broker, for tests of the supervisor: started, asked, signalled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw
import msgspec

from penstock import App, Job
from penstock.broker.requests import CancelAnswer
from penstock.connect import connect
from penstock.core.ids import JobId
from penstock.core.job import AttemptRecord, JobRecord
from penstock.core.lifecycle import FINAL
from penstock.errors import Unavailable
from penstock.task import Call, Task
from penstock.worker.supervisor.file_lock import write_lock_holders
from penstock.worker.supervisor.health import Health, health_dir, health_sockets, read_health
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.worker_process import ROOT, WorkerProcess, worker_environment

#: The app of these tests.
APP = "tests.support.supervised_app:app"
#: Variable that tells its jobs where to write.
TRACE_ENV = "SUPERVISED_TRACE"
#: Seconds for anything to happen that should; long, since other tests share the machine.
SOON_S = 30.0
#: Short enough for tests, long enough for a busy machine; leases outlive every scenario, so that
#: nothing is ever taken over merely because a lease ran out.
TIMERS = {
    "lease_ttl": "60s",
    "lease_extend": "300ms",
    "reclaim_interval": "200ms",
    "drain_grace": "2s",
    "kill_grace": "300ms",
    "poll": "500ms",
    "concurrency": "4",
    "log_level": "debug",
}


class Supervised:
    """Use as a context: at its end every process is gone."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Make an empty broker file in `folder`, or use that of a setting `url`; start nothing."""
        self.folder = folder
        self.file = folder / "penstock.db"
        self.url = settings.pop("url", f"sqlite:///{self.file}")
        self.trace = folder / "trace"
        self.settings = {"url": self.url, **TIMERS, **settings}
        self.extra = {TRACE_ENV: str(self.trace), "TMPDIR": str(folder)}
        #: Command that runs the workers.
        self.under: tuple[str, ...] = ()
        self.workers: list[WorkerProcess] = []
        self.app = App(self.url)
        self.broker = connect(self.url)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End whatever carries this scenario's trace file in its environment."""
        for worker in self.workers:
            worker.end()
        left = processes.marked(TRACE_ENV, str(self.trace))
        processes.send([one.pid for one in left], signal.SIGKILL)
        self.app.close()
        self.broker.close()

    def start(self, *args: str, app: str = APP, cwd: Path = ROOT, **settings: str) -> WorkerProcess:
        """Start a worker in folder `cwd` and return at once."""
        env = worker_environment({**self.settings, **settings}, self.extra)
        name = f"w{len(self.workers)}"
        worker = WorkerProcess(
            app, name=name, folder=self.folder, env=env, args=args, cwd=cwd, under=self.under
        )
        self.workers.append(worker)
        return worker

    def start_ready(self, *args: str, app: str = APP, **settings: str) -> WorkerProcess:
        """Start a worker and return once it is ready."""
        worker = self.start(*args, app=app, cwd=ROOT, **settings)
        self.wait_health(worker, lambda health: health.ready, "it to be ready")
        return worker

    def health(self, worker: WorkerProcess) -> Health | None:
        """Return what the worker says of itself, None while it does not answer."""
        for path in health_sockets(health_dir({"TMPDIR": str(self.folder)})):
            if path.name.startswith(f"{worker.pid}-"):
                try:
                    return read_health(path)
                except Unavailable:
                    return None
        return None

    def wait_health(
        self, worker: WorkerProcess, is_so: Callable[[Health], object], what: str
    ) -> Health:
        """Return its health once `is_so` holds for it."""

        def look() -> Health | None:
            assert worker.exit_code is None, worker.report()
            health = self.health(worker)
            return health if health is not None and is_so(health) else None

        state = lambda: f"{self.health(worker)}\n{worker.report()}"  # noqa: E731 - one expression
        return eventually(look, within_s=SOON_S, what=what, state=state)

    def enqueue(self, *calls: Call[Any]) -> list[Job[Any]]:
        """Enqueue jobs."""
        return self.app.enqueue_many(list(calls))

    def cancel(self, job: Job[Any]) -> CancelAnswer:
        """Cancel a job; a file that a stopped runner keeps locked is waited for."""

        def ask() -> CancelAnswer | None:
            try:
                (answer,) = self.broker.cancel([JobId(job.id)])
            except Unavailable:
                return None
            return answer

        return eventually(ask, within_s=SOON_S, what="the cancel to be taken", state=self.report)

    @contextmanager
    def locked_file(self) -> Iterator[None]:
        """Keep the broker's file locked for everybody else during a `with` block."""
        with closing(apsw.Connection(str(self.file))) as connection:
            connection.set_busy_timeout(int(SOON_S * 1000))
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def result(self, task: Task[..., str]) -> str:
        """Enqueue a task without arguments and return its result."""
        (record,) = self.wait_final(*self.enqueue(task.call()))
        assert record.result is not None, record
        return msgspec.json.decode(record.result, type=str)

    def stop_in_transaction(self, pid: int) -> None:
        """SIGSTOP a process at a moment at which it holds the write lock of the broker's file.

        Short jobs are enqueued before each look: a worker that is done with all there was would
        have nothing more to write about.
        """

        def look() -> bool:
            self.enqueue(*(tasks.wait.call(0.0, "short") for _ in range(20)))
            processes.send([pid], signal.SIGSTOP)
            # Race: the signal is on its way when it has been sent, and the lock may be given back.
            eventually(
                lambda: processes.is_stopped(pid), within_s=SOON_S, what="it to stop", every_s=0.001
            )
            if pid in write_lock_holders(self.file):
                return True
            processes.send([pid], signal.SIGCONT)
            return False

        what = f"process {pid} to be stopped while it writes"
        eventually(look, within_s=SOON_S, what=what, every_s=0.003, state=lambda: "")

    def record(self, job: Job[Any]) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.broker.get(JobId(job.id))
        assert record is not None, f"{job.id} is unknown"
        return record

    def wait_final(self, *jobs: Job[Any]) -> list[JobRecord]:
        """Return the records of jobs once all are final."""
        eventually(
            lambda: all(self.record(job).state in FINAL for job in jobs),
            within_s=SOON_S,
            what=f"{len(jobs)} jobs to end",
            state=lambda: self.report(*jobs),
            every_s=0.05,
        )
        return [self.record(job) for job in jobs]

    def wait_attempt(
        self, job: Job[Any], is_so: Callable[[AttemptRecord], object], what: str
    ) -> AttemptRecord:
        """Return the first attempt of a job for which `is_so` holds, once there is one."""

        def look() -> AttemptRecord | None:
            return next((one for one in self.record(job).attempts if is_so(one)), None)

        return eventually(look, within_s=SOON_S, what=what, state=lambda: self.report(job))

    def lines(self) -> list[list[str]]:
        """Return what jobs wrote: their words, in order."""
        return (
            [line.split() for line in self.trace.read_text().splitlines()]
            if self.trace.exists()
            else []
        )

    def wait_lines(self, *words: str, count: int = 1) -> list[list[str]]:
        """Return the lines that begin with `words`, once there are `count`."""

        def look() -> list[list[str]]:
            found = [line for line in self.lines() if line[: len(words)] == list(words)]
            return found if len(found) >= count else []

        what = f"{count} lines {' '.join(words)!r} in the trace"
        return eventually(look, within_s=SOON_S, what=what, state=self.report)

    def report(self, *jobs: Job[Any]) -> str:
        """Return jobs, trace, counters and workers, for failures."""
        lines = [str(self.record(job)) for job in jobs]
        lines += [str(self.lines()[-20:]), *map(str, self.broker.counts())]
        lines += [str(lease) for lease in self.broker.leases()]
        return "\n".join([*lines, *(worker.report() for worker in self.workers)])


def wait_gone(*pids: int, state: Callable[[], object]) -> None:
    """Return once all these processes have ended."""
    eventually(
        lambda: not any(processes.is_alive(pid) for pid in pids),
        within_s=SOON_S,
        what=f"processes {pids} to end",
        state=state,
    )
