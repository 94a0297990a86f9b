"""One attempt: look up, decode, limit, run through the middleware, encode, classify.

`run_attempt` is shared by runners, children and `penstock.testing`. It makes no broker call: it
turns a claimed job into an outcome, and `core.decision` turns that into a settlement. It never
raises: whatever user code does is an outcome.

Source: an attempt as a pipeline of named steps over one record, after Oban's executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from penstock.broker.requests import PAYLOAD_BYTES_MAX
from penstock.context import CurrentJob
from penstock.core import outcome as o
from penstock.core.job import Claimed, StoredError
from penstock.core.outcome import Outcome
from penstock.errors import SecretKeyMissing
from penstock.executors.coroutine import CoroutineRun
from penstock.executors.lane import ThreadRun, Took
from penstock.executors.stop import Stop
from penstock.middleware import CallNext, Middleware
from penstock.serializers.sealing import Seal
from penstock.tasks.registry import Registration
from penstock.worker.classify import classify, timed_out
from penstock.worker.error_text import stored_error

CallPlain = Callable[[ThreadRun, Callable[[], Any]], Awaitable[Any]]
"""Calls a plain function where it does not block the loop."""


class Attempt:
    """One execution: the record that the steps work on.

    Attributes:
        job: as claimed.
        registration: its task; looked up where it is not given, None where it is unknown.
        task: the asyncio task that runs it; found where it is not given, None once it has ended.
        run: the user code under way; None before and after.
        stop: the strongest interruption asked for so far.
        soft_ms: soft time limit; 0: none, or somebody else keeps it.
        hard_ms: hard time limit; the same.
        took: what the call of a plain function took; None: it was not made, or not measured.
    """

    __slots__ = ("hard_ms", "job", "registration", "run", "soft_ms", "stop", "task", "took")

    def __init__(self, job: Claimed, registration: Registration | None = None) -> None:
        self.job = job
        self.registration = registration
        self.task: asyncio.Task[Any] | None = None
        self.run: CoroutineRun | ThreadRun | None = None
        self.stop = Stop.NONE
        self.soft_ms = 0
        self.hard_ms = 0
        self.took: Took | None = None

    def interrupt(self, stop: Stop) -> None:
        """Interrupt user code for this reason; see `Stop`. Belongs to the loop's thread."""
        self.stop = max(self.stop, stop)
        if self.run is not None:
            self.run.interrupt(stop)


class LimitKeeper(Protocol):
    """Watches time limits; it interrupts the attempt when one passes."""

    def begin(self, attempt: Attempt) -> None:
        """Keep `soft_ms` and `hard_ms` of the attempt, one of which is set: its code starts now."""
        ...

    def end(self, attempt: Attempt) -> None:
        """User code has ended."""
        ...


async def call_inline(_run: ThreadRun, function: Callable[[], Any]) -> Any:
    """Call a plain function here and now, in the loop's thread: for tests and lone processes."""
    return function()


class AttemptPlan:
    """What all attempts of one process share.

    Args:
        find: the registry's look-up.
        enter: makes what `current_job()` returns and puts it into the current context.
        middleware: outermost first.
        call_plain: how plain functions are called.
        limits: who watches time limits; None: nobody.
        result_bytes_max: larger results are refused.
        seal: opens secret arguments; None: they come opened, as a child gets them.
    """

    __slots__ = ("call_plain", "enter", "find", "limits", "middleware", "result_bytes_max", "seal")

    def __init__(
        self,
        *,
        find: Callable[[str], Registration | None],
        enter: Callable[[Attempt], CurrentJob],
        middleware: Sequence[Middleware] = (),
        call_plain: CallPlain = call_inline,
        limits: LimitKeeper | None = None,
        result_bytes_max: int = PAYLOAD_BYTES_MAX,
        seal: Seal | None = None,
    ) -> None:
        self.seal = seal
        self.find = find
        self.enter = enter
        self.middleware = tuple(reversed(middleware))
        self.call_plain = call_plain
        self.limits = limits
        self.result_bytes_max = result_bytes_max


async def run_attempt(plan: AttemptPlan, attempt: Attempt) -> Outcome:
    """Run one claimed job to its outcome, in the calling asyncio task, which must be its own.

    Never raises. Cost: about 5 us beside the user's code, for a coroutine without middleware.
    """
    job = attempt.job
    task = attempt.registration
    if task is None:
        task = attempt.registration = plan.find(job.spec.task)
    if job.flaw is not None or task is None:
        return _unrunnable(job)
    try:
        opened = job if plan.seal is None else plan.seal.opened(job)
        args, kwargs = task.decode(opened.spec.payload)
    except SecretKeyMissing as error:
        return o.KeyMissing(stored_error(error))
    except BaseException as error:  # noqa: BLE001 - a type's own hooks may raise anything
        return o.PayloadUnreadable(stored_error(error))
    limits = plan.limits if attempt.soft_ms or attempt.hard_ms else None
    if attempt.task is None:
        attempt.task = asyncio.current_task()
    try:
        current = plan.enter(attempt)
        if limits is not None:
            limits.begin(attempt)
        if plan.middleware or attempt.stop or not task.is_async:
            function = partial(task.function, *args, **kwargs)
            value = await _through_middleware(plan, attempt, task, current, function)
        else:
            # The common case, written out: it spares each job two calls and a coroutine.
            run = attempt.run = CoroutineRun(attempt.task)
            value = await run.drive(task.function(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
        return classify(error, task, attempt.stop)
    finally:
        if limits is not None:
            limits.end(attempt)
        # No cycle of references is left behind: memory is given back without the collector.
        attempt.task = attempt.run = None
    if attempt.stop is Stop.HARD:
        return timed_out()
    return _NOTHING if value is None else _encoded(plan, task, value)


def _unrunnable(job: Claimed) -> Outcome:
    if job.flaw is not None:
        return o.PayloadUnreadable(StoredError("payload_unreadable", job.flaw))
    text = (
        f"no task named {job.spec.task!r:.200} is registered in this worker: "
        "import its module, or give the renamed task this name as an alias"
    )
    return o.TaskUnknown(StoredError("task_unknown", text))


async def _through_middleware(
    plan: AttemptPlan,
    attempt: Attempt,
    task: Registration,
    current: CurrentJob,
    function: Callable[[], Any],
) -> Any:
    call: CallNext = partial(_call, plan, attempt, task, function)
    for middleware in plan.middleware:
        call = partial(middleware, current, call)
    return await call()


async def _call(
    plan: AttemptPlan, attempt: Attempt, task: Registration, function: Callable[[], Any]
) -> Any:
    run = CoroutineRun(attempt.task) if task.is_async else ThreadRun(attempt.task)
    attempt.run = run
    if attempt.stop:
        run.interrupt(attempt.stop)
    if isinstance(run, CoroutineRun):
        return await run.drive(function())
    try:
        return await plan.call_plain(run, function)
    finally:
        attempt.took = run.took


def _encoded(plan: AttemptPlan, task: Registration, value: Any) -> Outcome:
    try:
        return o.Succeeded(task.encode_result(value, bytes_max=plan.result_bytes_max))
    except BaseException as error:  # noqa: BLE001 - a type's own hooks may raise anything
        return o.ResultUnwritable(stored_error(error))


#: Most jobs return nothing; one value serves them all.
_NOTHING: Final = o.Succeeded(None)
