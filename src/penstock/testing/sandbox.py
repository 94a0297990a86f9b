"""Run an app's jobs in a test: the real path, in memory, with a clock that the test moves.

    with Sandbox(app) as sandbox:
        job = cluster.enqueue("graph.csv")
        sandbox.drain()
        assert job.result() == {...}

Plain functions run in the test's own thread (from `adrain`, in another thread), coroutine functions
in an event loop that lives as long as the sandbox. Tasks that a worker would put into a child run
right here; time limits are not kept, since virtual time stands still while a task runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal, Self, TypeVar

from penstock.app import App
from penstock.brokers.memory import MemoryBroker
from penstock.client.drive import is_in_event_loop
from penstock.core.lifecycle import FINAL
from penstock.core.secret import SecretKeys
from penstock.core.units import Duration, duration_ms
from penstock.errors import JobNotFound, ResultTimeout, UsageError, WrongContext
from penstock.executors.lane import Call, Lane, ThreadRun
from penstock.job import Job
from penstock.serializers.sealing import Seal, new_key
from penstock.testing.clock import ManualClock
from penstock.testing.sandbox_worker import Ran, SandboxWorker
from penstock.worker.boot import run_hooks

T = TypeVar("T")

#: Attempts of one drain; past it a task that enqueues or snoozes itself for ever is at work.
ATTEMPTS_MAX: Final = 10_000
#: Draws the jitter of backoffs: always the middle, so that a test is the same every time.
_NO_JITTER: Final = 0.5


class Sandbox:
    """Puts an app on a broker in memory for the length of a `with` or `async with` block.

    Start and stop hooks of the app run once, around the first drain and at the end of the block.

    Args:
        app: its tasks are used as they are; afterwards it is connected as before.
        clock: virtual time; default: a new one that starts at 2026-01-01 UTC.
        attempts_max: of one drain.

    Attributes:
        clock: virtual time; `advance` moves it.
        broker: the broker in memory, for a closer look.
    """

    def __init__(
        self, app: App, *, clock: ManualClock | None = None, attempts_max: int = ATTEMPTS_MAX
    ) -> None:
        self.clock = ManualClock() if clock is None else clock
        self.broker = MemoryBroker(self.clock)
        self._app = app
        self._attempts_max = attempts_max
        # A key that dies with the sandbox: tests need none of their own.
        self._seal = Seal(SecretKeys([("sandbox", new_key())]))
        self._attached_before: Any = None
        self._lane = _CallerLane()
        self._runner: asyncio.Runner | None = None
        self._is_started = False

    def __enter__(self) -> Self:
        self._attached_before = self._app.client.attach(
            self.broker, pause=_refuse_to_wait, sealer=self._seal
        )
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            if self._is_started:
                self._run(run_hooks(self._app.stop_hooks))
        finally:
            if self._runner is not None:
                self._runner.close()
            self._leave()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_error: object) -> None:
        try:
            if self._is_started:
                await run_hooks(self._app.stop_hooks)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._app.client.attach(self._attached_before)
        self.broker.close()

    def advance(self, duration: Duration) -> None:
        """Let virtual time pass: seconds, timedelta or "30s". Due jobs run at the next drain."""
        self.clock.advance(duration_ms(duration))

    def drain(
        self, *, until: Job[Any] | Literal["idle"] = "idle", advance: bool = True
    ) -> list[Ran]:
        """Run jobs, one after the other, until nothing is left to run.

        Args:
            until: "idle", or a job: then stop as soon as it is final.
            advance: move the clock to the next due job whenever none can run now, so that delays
                and retries pass at once; False: run only what can run now.

        Returns:
            The attempts in the order in which they ran.

        Raises:
            UsageError: more than `attempts_max` attempts; those that ran are settled.
            WrongContext: an event loop runs in this thread; use `adrain`.
        """
        if is_in_event_loop():
            raise WrongContext("drain() cannot run inside an event loop: use `await adrain()`")
        ran: list[Ran] = []
        worker = self._worker(self._lane.call)
        self._run(self._start())
        while (job := self._next(worker, until, advance=advance)) is not None:
            ran.append(self._run(worker.run(job)))
            self._check(ran)
        return ran

    async def adrain(
        self, *, until: Job[Any] | Literal["idle"] = "idle", advance: bool = True
    ) -> list[Ran]:
        """Run jobs as `drain` does, in the running event loop."""
        ran: list[Ran] = []
        worker = self._worker(_call_in_thread)
        await self._start()
        while (job := self._next(worker, until, advance=advance)) is not None:
            ran.append(await asyncio.create_task(worker.run(job)))
            self._check(ran)
        return ran

    def _worker(self, call_plain: Callable[[ThreadRun, Callable[[], Any]], Any]) -> SandboxWorker:
        return SandboxWorker(
            self.broker,
            self._app.registry,
            self._app.middlewares,
            call_plain=call_plain,
            random_unit=lambda: _NO_JITTER,
            seal=self._seal,
        )

    async def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            await run_hooks(self._app.start_hooks)

    def _next(
        self, worker: SandboxWorker, until: Job[Any] | Literal["idle"], *, advance: bool
    ) -> Any:
        while until == "idle" or not self._is_final(until):
            job, due_in_ms = worker.claim()
            if job is not None:
                return job
            if due_in_ms is None or not advance:
                return None
            self.clock.advance(max(1, due_in_ms))
        return None

    def _is_final(self, job: Job[Any]) -> bool:
        [status] = self.broker.peek([job.id])
        if status is None:
            raise JobNotFound(f"job {job.id} is not in this sandbox: enqueue it inside the block")
        return status.state in FINAL

    def _check(self, ran: list[Ran]) -> None:
        if len(ran) >= self._attempts_max:
            raise UsageError(
                f"{len(ran)} attempts ran in one drain, the last of task {ran[-1].task}: a task "
                "enqueues or snoozes itself for ever; drain with advance=False, or until=job"
            )

    def _run(self, coroutine: Any) -> Any:
        """Run a coroutine to its end; plain functions that it wants called are called outside.

        Between two steps no event loop runs in this thread, so that a plain function finds it as
        in a worker's thread: it may wait for jobs and start loops of its own.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        task = self._runner.get_loop().create_task(coroutine)
        while not self._runner.run(self._lane.wait(task)):
            self._lane.run_waiting()
        return task.result()


class _CallerLane(Lane):
    """Calls plain functions in the thread that drains; nothing interrupts them."""

    __slots__ = ("_waiting", "_wake")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Call] = []
        self._wake: asyncio.Future[None] | None = None

    def enter(self, run: ThreadRun) -> None:
        """Do nothing: a sandbox keeps no time limits."""

    def leave(self, run: ThreadRun) -> None:
        """Do nothing, as `enter`."""

    async def call(self, run: ThreadRun, function: Callable[[], Any]) -> Any:
        """Leave a call for `run_waiting` and wait for its end."""
        call = Call(run, function)
        self._waiting.append(call)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        await call.ended
        return call.result()

    async def wait(self, task: asyncio.Task[Any]) -> bool:
        """Wait until a call waits or `task` is done; return whether it is done."""
        self._wake = asyncio.get_running_loop().create_future()
        if not self._waiting:
            await asyncio.wait({task, self._wake}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    def run_waiting(self) -> None:
        """Make the calls that wait, with no event loop running."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self.run(call)
            call.end()


async def _call_in_thread(run: ThreadRun, function: Callable[[], Any]) -> Any:
    call = Call(run, function)
    await asyncio.to_thread(_CallerLane().run, call)
    call.end()
    return call.result()


def _refuse_to_wait(_seconds: float) -> None:
    raise ResultTimeout(
        "the job is not final, and in a sandbox nothing runs by itself: drain() before result()"
    )
