"""A child at work: what the supervisor says, and what follows."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from penstock.app import App
from penstock.core.outcome import Outcome, ResultUnwritable
from penstock.executors.lane import ThreadRun
from penstock.executors.main_thread import MainThreadExecutor
from penstock.executors.memory import give_back_freed
from penstock.executors.stop import Stop
from penstock.serializers.sealing import LeftOpen
from penstock.worker import boot, wire
from penstock.worker.asks import Answer
from penstock.worker.attempt import AttemptPlan, run_attempt
from penstock.worker.child.attempts import ChildAttempt, SoftLimit, enter
from penstock.worker.child.enqueuer import PipeEnqueuer
from penstock.worker.child.gauge import Gauge
from penstock.worker.error_text import stored_error
from penstock.worker.measured import Measured
from penstock.worker.pipe import Pipe

_log = logging.getLogger("penstock.child")

#: Bytes that a job has taken from which on it may leave freed memory that is worth a call for it:
#: 0.1 ms, where a no-op in a warm child takes half of one.
_MUCH: Final = 2**20


class Service:
    """One child, in the running loop, which is not that of the main thread.

    Args:
        app: whose tasks are run.
        pipe: to the supervisor.
        main_thread: calls plain functions.
    """

    def __init__(self, app: App, pipe: Pipe[wire.ToChild], main_thread: MainThreadExecutor) -> None:
        self._app = app
        self._pipe = pipe
        self._main_thread = main_thread
        self._loop = asyncio.get_running_loop()
        self._orders: asyncio.Queue[wire.Prepare | wire.Run | wire.Retire] = asyncio.Queue()
        self._plan: AttemptPlan | None = None
        self._attempt: ChildAttempt | None = None
        self._running: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()
        self._enqueuer: PipeEnqueuer | None = None
        self._gauge = Gauge()
        pipe.listen(self._take_in)

    async def run(self) -> int:
        """Run jobs one after the other until retired; return the exit status."""
        while True:
            match await self._orders.get():
                case wire.Prepare() as order if self._plan is None:
                    self._plan = await self._prepare(order)
                    if self._plan is None:
                        return boot.EXIT_FAILED
                    # What start hooks have set, jobs find.
                    self._context = contextvars.copy_context()
                case wire.Retire():
                    if self._running is not None:
                        await asyncio.wait([self._running])
                    await boot.run_stop_hooks(self._app.stop_hooks, self._call)
                    return 0
                case order:
                    _log.error("the supervisor said %s out of turn", type(order).__name__)
                    return boot.EXIT_FAILED

    async def _prepare(self, order: wire.Prepare) -> AttemptPlan | None:
        self._enqueuer = PipeEnqueuer(self._pipe, order.queue_tags)
        self._app.install_enqueuer(self._enqueuer, sealer=LeftOpen())
        try:
            await boot.run_hooks(self._app.start_hooks, self._call)
        except BaseException as error:  # noqa: BLE001 - a hook may raise anything
            _log.critical("a start hook failed, the child ends", exc_info=True)
            self._pipe.send(wire.Hello(os.getpid(), error=stored_error(error)))
            return None
        self._pipe.send(wire.Ready())
        return AttemptPlan(
            find=self._app.registry.find,
            enter=enter,
            middleware=self._app.middlewares,
            call_plain=self._main_thread.call,
            limits=SoftLimit(),
            result_bytes_max=order.result_bytes_max,
        )

    async def _run(self, plan: AttemptPlan, attempt: ChildAttempt) -> None:
        self._gauge.begin()
        outcome = await run_attempt(plan, attempt)
        measured = self._gauge.read()
        self._attempt = None
        if measured.peak_bytes is None or measured.peak_bytes - measured.baseline_bytes >= _MUCH:
            # Before the supervisor is told, which looks at what is left and may replace this child.
            give_back_freed()
        attempt.send_notes()
        self._finish(attempt, outcome, measured)

    def _finish(self, attempt: ChildAttempt, outcome: Outcome, measured: Measured) -> None:
        try:
            self._pipe.send(wire.Finished(attempt.job.id, outcome, measured))
        except ValueError as error:
            unwritable = ResultUnwritable(stored_error(error))
            self._pipe.send(wire.Finished(attempt.job.id, unwritable, measured))

    async def _call(self, hook: Callable[[], Any]) -> Any:
        return await self._main_thread.call(ThreadRun(asyncio.current_task()), hook)

    def _take_in(self, message: wire.ToChild) -> None:
        match message:
            case wire.Run() if self._plan is not None and self._attempt is None:
                # Race: made here, so that a cancel right behind it finds it.
                attempt = ChildAttempt(message.whole(), self._pipe, self._loop)
                attempt.soft_ms = message.soft_timeout_ms
                self._attempt = attempt
                # A task of its own for each job: its context variables and cancellations end with
                # it. It is not awaited: user code may cancel it when all is done.
                self._running = self._loop.create_task(
                    self._run(self._plan, attempt), context=self._context.copy()
                )
            case wire.CancelRun(drain=drain):
                if self._attempt is not None:
                    self._attempt.interrupt(Stop.DRAIN if drain else Stop.CANCEL)
            case Answer():
                if self._enqueuer is not None:
                    self._enqueuer.take_in(message)
            case _:
                self._orders.put_nowait(message)
