"""One broker file, and runners over it that a test drives over the wire."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from penstock import Job
from penstock.broker.clock import SystemClock
from penstock.broker.requests import EnqueueRequest, QueueCounts
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.ids import JobId, make_job_id
from penstock.core.job import JobRecord, JobSpec
from penstock.core.lifecycle import State
from tests.support import runner_app
from tests.support.eventually import eventually
from tests.support.wire_driver import SOON_S, RunnerDriver

APP = "tests.support.runner_app:app"


class RunnerBench:
    """Use as a context: at its end every runner is gone."""

    def __init__(self, folder: Path) -> None:
        """Make an empty broker file, and let the app of this process enqueue into it."""
        self.folder = folder
        self.url = f"sqlite:///{folder / 'penstock.db'}"
        self.broker = SqliteBroker.open(folder / "penstock.db", clock=SystemClock())
        self.app = runner_app.app
        self.app.install_enqueuer(self.broker)
        self._numbers = itertools.count(1)
        self._runners = ExitStack()
        self.runners: list[RunnerDriver] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Kill the runners and close the file."""
        self._runners.close()
        self.app.install_enqueuer(None)
        self.broker.close()

    def spawn(self, app: str = APP, env: Mapping[str, str] | None = None) -> RunnerDriver:
        """Start a runner; it has not been told to begin."""
        folder = self.folder / f"runner-{len(self.runners)}"
        folder.mkdir()
        runner = RunnerDriver(app, self.url, self.broker, folder, env)
        self.runners.append(self._runners.enter_context(runner))
        return runner

    def started(self, env: Mapping[str, str] | None = None, **changes: Any) -> RunnerDriver:
        """Start a runner and let it begin."""
        return self.spawn(env=env).start(**changes)

    def path(self, name: str) -> str:
        """Return the path of a file by which jobs and test tell each other something."""
        return str(self.folder / name)

    def enqueue_raw(self, task: str, payload: bytes = b"{}") -> JobId:
        """Enqueue a job as an older or foreign program would, into the set of coroutines."""
        tag = self.broker.register(["default"])["default"]
        number = next(self._numbers)
        request = EnqueueRequest(
            id=make_job_id(number, 0, tag, number),
            queue="default",
            spec=JobSpec(task=task, payload=msgspec.Raw(payload)),
        )
        self.broker.enqueue([request])
        return request.id

    def record(self, job: Job[Any] | str) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.broker.get(JobId(job if isinstance(job, str) else job.id))
        assert record is not None, job
        return record

    def counts(self) -> QueueCounts:
        """Return the counters of the queue."""
        return next(one for one in self.broker.counts() if one.queue == "default")

    def wait_state(self, job_id: str, state: State) -> JobRecord:
        """Return the job's record once it is in `state`."""
        eventually(
            lambda: self.record(job_id).state is state,
            within_s=SOON_S,
            what=f"job {job_id} to be {state}",
            state=lambda: f"{self.record(job_id)}\n{self.report()}",
        )
        return self.record(job_id)

    def wait_result(self, job_id: str) -> Any:
        """Return what the job returned, once it is completed."""
        result = self.wait_state(job_id, State.COMPLETED).result
        return None if result is None else msgspec.json.decode(result)

    def wait_needs(self, needs: set[str]) -> None:
        """Return once exactly these ready sets are not empty."""
        eventually(
            lambda: set(self.broker.needs(["default"])["default"]) == needs,
            within_s=SOON_S,
            what=f"jobs in {needs}",
            state=lambda: f"{self.broker.needs(['default'])}\n{self.report()}",
        )

    def wait_lines(self, path: str, count: int) -> list[str]:
        """Return the lines of a file once there are `count`."""

        def look() -> list[str]:
            lines = Path(path).read_text().splitlines() if Path(path).exists() else []
            return lines if len(lines) >= count else []

        return eventually(look, within_s=SOON_S, what=f"{count} lines in {path}", state=self.report)

    def report(self) -> str:
        """Return counters and runners, for failures."""
        return "\n".join([str(self.counts()), *(one.report() for one in self.runners)])
