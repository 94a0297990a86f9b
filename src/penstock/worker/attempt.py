"""One attempt: look up, decode, limit, run through the middleware, encode, classify.

`run_attempt` is shared by runners, children and `penstock.testing`. It makes no broker call: it
turns a claimed job into an outcome, and `core.decision` turns that into a settlement. It never
raises: whatever user code does is an outcome.

Source: an attempt as a pipeline of named steps over one record, after Oban's executor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, Protocol

from penstock.broker.requests import PAYLOAD_BYTES_MAX
from penstock.core import outcome as o
from penstock.core.job import Claimed, StoredError
from penstock.core.outcome import Outcome
from penstock.executors.coroutine import CoroutineRun
from penstock.executors.lane import ThreadRun
from penstock.executors.stop import Stop
from penstock.registry import Registration
from penstock.worker.classify import classify, timed_out
from penstock.worker.error_text import stored_error

CallNext = Callable[[], Awaitable[Any]]
"""What a middleware awaits to run the rest; returns what the task returned."""
Middleware = Callable[[Any, CallNext], Awaitable[Any]]
"""(current job, call_next) -> what the task returned, or something else in its place."""
CallPlain = Callable[[ThreadRun, Callable[[], Any]], Awaitable[Any]]
"""Calls a plain function where it does not block the loop."""


class Attempt:
    """One execution: the record that the steps work on.

    Attributes:
        job: as claimed.
        current: what `current_job()` returns in the task; made by `AttemptPlan.enter`.
        registration: the task; None until looked up, or where it is unknown.
        run: the user code under way; None before.
        stop: the strongest interruption asked for so far.
    """

    __slots__ = ("current", "job", "registration", "run", "stop")

    def __init__(self, job: Claimed) -> None:
        self.job = job
        self.current: Any = None
        self.registration: Registration | None = None
        self.run: CoroutineRun | ThreadRun | None = None
        self.stop = Stop.NONE

    def interrupt(self, stop: Stop) -> None:
        """Interrupt user code for this reason; see `Stop`. Belongs to the loop's thread."""
        self.stop = max(self.stop, stop)
        if self.run is not None:
            self.run.interrupt(stop)


class LimitKeeper(Protocol):
    """Watches time limits; it interrupts the attempt when one passes."""

    def begin(self, attempt: Attempt) -> None:
        """User code is about to start."""
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
    """

    __slots__ = ("call_plain", "enter", "find", "limits", "middleware", "result_bytes_max")

    def __init__(
        self,
        *,
        find: Callable[[str], Registration | None],
        enter: Callable[[Attempt], Any],
        middleware: Sequence[Middleware] = (),
        call_plain: CallPlain = call_inline,
        limits: LimitKeeper | None = None,
        result_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
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
    registration = attempt.registration = plan.find(job.spec.task)
    if job.flaw is not None or registration is None:
        return _unrunnable(job)
    try:
        args, kwargs = registration.decode(job.spec.payload)
    except BaseException as error:  # noqa: BLE001 - a type's own hooks may raise anything
        return o.PayloadUnreadable(stored_error(error))
    limits = plan.limits
    run: CoroutineRun | ThreadRun = CoroutineRun() if registration.is_async else ThreadRun()
    attempt.run = run
    try:
        if attempt.stop:
            run.interrupt(attempt.stop)
        attempt.current = plan.enter(attempt)
        if limits is not None:
            limits.begin(attempt)
        function = partial(registration.function, *args, **kwargs)
        if plan.middleware:
            value = await _through_middleware(plan, attempt, run, function)
        else:
            value = await _call(plan, run, function)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
        return classify(error, registration, attempt.stop)
    finally:
        if limits is not None:
            limits.end(attempt)
    if attempt.stop is Stop.HARD:
        return timed_out()
    return _encode(plan, registration, value)


def _unrunnable(job: Claimed) -> Outcome:
    if job.flaw is not None:
        return o.PayloadUnreadable(StoredError("payload_unreadable", job.flaw))
    text = (
        f"no task named {job.spec.task!r:.200} is registered in this worker: "
        "import its module, or give the renamed task this name as an alias"
    )
    return o.TaskUnknown(StoredError("task_unknown", text))


async def _call(
    plan: AttemptPlan, run: CoroutineRun | ThreadRun, function: Callable[[], Any]
) -> Any:
    if isinstance(run, CoroutineRun):
        return await run.drive(_coroutine(function()))
    return await plan.call_plain(run, function)


async def _through_middleware(
    plan: AttemptPlan,
    attempt: Attempt,
    run: CoroutineRun | ThreadRun,
    function: Callable[[], Any],
) -> Any:
    call: CallNext = partial(_call, plan, run, function)
    for middleware in plan.middleware:
        call = partial(middleware, attempt.current, call)
    return await call()


def _coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    """Return a coroutine; some decorators let an `async def` return another awaitable."""
    return awaitable if type(awaitable) is CoroutineType else _awaiting(awaitable)


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _encode(plan: AttemptPlan, registration: Registration, value: Any) -> Outcome:
    if value is None:
        return _NOTHING
    try:
        return o.Succeeded(registration.encode_result(value, bytes_max=plan.result_bytes_max))
    except BaseException as error:  # noqa: BLE001 - a type's own hooks may raise anything
        return o.ResultUnwritable(stored_error(error))


#: Most jobs return nothing; one value serves them all.
_NOTHING = o.Succeeded(None)
