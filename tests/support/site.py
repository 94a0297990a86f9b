"""A place for one fault scenario: a broker, a history, workers, and the end-of-run check."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from penstock import App, Job
from penstock.broker.protocol import Broker
from penstock.brokers.redis import RedisBroker
from penstock.connect import connect
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from penstock.core.lifecycle import FINAL
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.task import Call
from penstock.worker.supervisor.child_folder import sweep_folders
from tests.chaos import tasks
from tests.support import history as h
from tests.support import processes
from tests.support.backdoor import Backdoor, backdoor
from tests.support.checker import assert_holds
from tests.support.dump import Dump, take_dump
from tests.support.eventually import eventually
from tests.support.worker_process import WorkerProcess, worker_environment

APP = "tests.chaos.app:app"
#: Environment variable that marks all processes of one site, adopted ones too.
SITE_ENV = "CHAOS_SITE"
#: The timers of the fault plan (reliability plan §3.1): as in production, but six times shorter.
TIMERS = {
    "lease_ttl": "2s",
    "lease_extend": "500ms",
    "reclaim_interval": "250ms",
    "drain_grace": "3s",
    "poll": "500ms",
    "concurrency": "4",
}
NOTHING: Mapping[str, str] = {}
#: Seconds for a worker to come up on a machine that is busy with other tests.
START_S = 30.0
#: Seconds for each answer while everything is read.
DUMP_ANSWER_S = 30.0
#: Seconds for a killed or drained worker's last process to go.
GONE_S = 10.0


class Site:
    """Use as a context: at its end every process of the site is gone, whatever happened.

    Attributes:
        history: the file that jobs, faults and the test append to.
        door: to what the broker stores, behind the back of the port.
        worker_app: what its workers run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str | None = None,
        timers: Mapping[str, str] = TIMERS,
        **settings: str,
    ) -> None:
        """Make an empty broker file in `folder`, or use the broker at `url`.

        Args:
            folder: of this site alone.
            url: of an empty broker; None: a file.
            timers: settings of the workers; an empty mapping asks for those of production.
            **settings: win over them.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mark = secrets.token_hex(8)
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.url = f"sqlite:///{folder / 'penstock.db'}" if url is None else url
        self.history = h.History(folder / "history.jsonl")
        self.settings = {"url": self.url, **timers, **settings}
        self.workers: list[WorkerProcess] = []
        self.worker_app = APP
        self.app = App(self.url)
        self.app.include(tasks)
        self.broker: Broker = connect(self.url)
        self.door: Backdoor = backdoor(self.url)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End every process that carries the mark of the site, by its own pid."""
        for worker in self.workers:
            worker.end()
        processes.send([one.pid for one in self.processes()], signal.SIGKILL)
        self.history.close()
        self.broker.close()

    def processes(self) -> list[psutil.Process]:
        """Return all living processes of the site."""
        return processes.marked(SITE_ENV, self.mark)

    def start(
        self,
        name: str = "",
        *,
        environment: Mapping[str, str] = NOTHING,
        under: Sequence[str] = (),
        **settings: str,
    ) -> WorkerProcess:
        """Start a worker and return at once; `settings` win over the site's.

        `under` is a command that becomes the one that is given to it, elsewhere.
        """
        extra = {
            h.HISTORY_ENV: str(self.history.path),
            SITE_ENV: self.mark,
            "TMPDIR": str(self.temporary),
            **environment,
        }
        worker = WorkerProcess(
            self.worker_app,
            name=name or f"w{len(self.workers)}",
            folder=self.folder,
            env=worker_environment({**self.settings, **settings}, extra),
            under=under,
        )
        self.workers.append(worker)
        return worker

    def start_ready(self, name: str = "", **settings: str) -> WorkerProcess:
        """Start a worker and return once it takes jobs."""
        worker = self.start(name, environment=NOTHING, **settings)
        self.wait_ready(worker)
        return worker

    def wait_ready(self, worker: WorkerProcess) -> None:
        """Return once a process of the worker holds an open lease."""

        def look() -> bool:
            assert worker.exit_code is None, worker.report()
            pids = set(worker.tree()) - {worker.pid}
            try:
                leases = self.broker.leases()
            except Unavailable:
                # Too busy to answer in time: part of many a scenario.
                return False
            return any(lease.owner.pid in pids for lease in leases)

        eventually(look, within_s=START_S, what=f"{worker.name} to take jobs", state=worker.report)

    def enqueue(self, *calls: Call[Any]) -> list[Job[Any]]:
        """Enqueue jobs and write each acceptance into the history."""
        jobs = self.app.enqueue_many(list(calls))
        for job, call in zip(jobs, calls, strict=True):
            self.accepted(job, call)
        return jobs

    def accepted(self, job: Job[Any], call: Call[Any]) -> None:
        """Write that a job was accepted."""
        event = h.Accepted(
            job=job.id,
            key=key_of(call),
            digest=call.digest,
            durability=None if job.durability is None else str(job.durability),
            duplicate=job.duplicate,
        )
        self.history.append(event)

    def cancel(self, job: str) -> str:
        """Cancel a job, write the answer into the history and return it."""
        try:
            (answer,) = self.broker.cancel([JobId(job)])
        except Unavailable:
            return "unavailable"
        except OutcomeUnknown:
            answer_text = "unknown"
        else:
            answer_text = str(answer)
        self.history.append(h.CancelReplied(job=job, answer=answer_text))
        return answer_text

    def kill(self, worker: WorkerProcess) -> list[int]:
        """SIGKILL a worker with all its descendants, none having a chance to react."""
        hit = processes.kill_tree(worker.pid, lambda pids: self.fault("sigkill_tree", pids))
        worker.wait_exit(GONE_S)
        return hit

    def fault(self, kind: str, pids: Sequence[int]) -> None:
        """Write that these processes are about to be harmed."""
        self.history.append(h.Fault(kind=kind, pids=tuple(pids)))

    def record(self, job: str) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.broker.get(JobId(job))
        assert record is not None, f"{job} is unknown"
        return record

    def events(self) -> list[h.Event]:
        """Return the history so far."""
        return h.read_history(self.history.path)

    def wait_started(self, job: str, *, attempt: int = 1, within_s: float = START_S) -> h.Started:
        """Return the start of an attempt of `job`, at least that one, once it is there."""

        def look() -> h.Started | None:
            starts = h.of_type(h.Started, self.events())
            return next((s for s in starts if s.job == job and s.attempt >= attempt), None)

        what = f"attempt {attempt} of {job} to start"
        return eventually(look, within_s=within_s, what=what, state=lambda: self.report(job))

    def wait_until(self, at_ns: int) -> None:
        """Return once boot time has reached `at_ns`, an instant the scenario is about."""
        eventually(lambda: h.boot_ns() >= at_ns, within_s=600, what=f"boot time {at_ns}")

    def wait_final(self, jobs: Sequence[str], *, within_s: float) -> None:
        """Return once all `jobs` are final."""
        open_jobs = list(jobs)

        def look() -> bool:
            for batch in _batches(open_jobs):
                try:
                    statuses = self.broker.peek([JobId(job) for job in batch])
                except Unavailable:
                    # Down, or too busy to answer in time: part of many a scenario.
                    return False
                for job, status in zip(batch, statuses, strict=True):
                    assert status is not None, f"{job} is unknown\n{self.report()}"
                    if status.state in FINAL:
                        open_jobs.remove(job)
            return not open_jobs

        eventually(
            look,
            within_s=within_s,
            what=f"{len(jobs)} jobs to end",
            state=lambda: f"{len(open_jobs)} open\n{self.report(*open_jobs[:5])}",
            every_s=0.05,
        )

    def drain(self, *workers: WorkerProcess, within_s: float = 20.0) -> tuple[str, ...]:
        """SIGTERM workers, see them end with 0, and return what they left behind."""
        for worker in workers:
            self.fault("drain", worker.tree())
            worker.signal(signal.SIGTERM)
        codes = {worker.name: worker.wait_exit(within_s) for worker in workers}
        assert set(codes.values()) <= {0}, f"{codes}\n{self.report()}"
        return self.leftovers()

    def leftovers(self) -> tuple[str, ...]:
        """Return what is left of processes, temporary files and transactions, one line each."""
        deadline = time.monotonic() + 1.0
        while lines := [*map(processes.describe, self.processes()), *self.door.open_transactions()]:
            if time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        # What workers share on their host is removed by the last one that ends well; where that one
        # was killed, the next one finds it. So it is with folders of children whose worker is dead.
        sweep_folders({"TMPDIR": str(self.temporary)})
        files = [one for one in self.temporary.rglob("*") if not one.is_dir()]
        lines += [str(one) for one in files if one.suffix != ".ledger"]
        return tuple(f"left behind: {line}" for line in lines)

    def check(self, *, leftovers: tuple[str, ...] | None = None) -> tuple[list[h.Event], Dump]:
        """Run the checker over the history and a dump; return both for further questions."""
        events = self.events()
        with closing(_patient(self.url)) as broker:
            dump = take_dump(broker, leftovers=leftovers)
        assert_holds(events, dump, context=f"in {self.folder}\n{self.report()}")
        return events, dump

    def report(self, *jobs: str) -> str:
        """Return workers, counters and some jobs, for failures."""
        lines = [str(one) for one in self.broker.counts()]
        lines += [str(lease) for lease in self.broker.leases()]
        lines += [str(self.broker.get(JobId(job))) for job in jobs]
        return "\n".join([*lines, *(worker.report() for worker in self.workers[-4:])])


def key_of(call: Call[Any]) -> str | None:
    """Return the key of a call as the history has it: unique over all tasks, as keys are not."""
    key = call.plan.spec.key
    return None if key is None else f"{call.plan.spec.task} {key}"


def _patient(url: str) -> Broker:
    """Open a broker to read all of it, be there records of 20 MiB."""
    if url.startswith("redis:"):
        return RedisBroker.open(url, answer_timeout_s=DUMP_ANSWER_S)
    return connect(url)


def _batches(jobs: list[str], size: int = 400) -> list[list[str]]:
    return [jobs[at : at + size] for at in range(0, len(jobs), size)]
