"""One thread that runs user functions, and how an exception is raised into it from outside.

The hazard of all such exceptions is the moment when the function ends: what was meant for one job
must never hit the next one, nor the code between them.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from penstock.executors.stop import Stop
from penstock.executors.thread_meter import ThreadMeter
from penstock.signals import CancelRequested, SoftTimeLimit

RAISED: Final[dict[Stop, type[BaseException]]] = {
    Stop.SOFT: SoftTimeLimit,
    Stop.CANCEL: CancelRequested,
    Stop.DRAIN: CancelRequested,
    Stop.HARD: CancelRequested,
}
"""What is raised for each reason."""

LATE: Final = (SoftTimeLimit, CancelRequested)
"""What may come out of anything that a lane does while a call ends."""


class Took(NamedTuple):
    """What one call took, in seconds.

    Attributes:
        run_s: how long it lasted.
        cpu_s: what of the processor its thread used or waited for.
        process_cpu_s: what the whole process used meanwhile.
    """

    run_s: float
    cpu_s: float
    process_cpu_s: float


class Phase(Enum):
    """How far the call of a run has come, as the loop knows it."""

    BEFORE = "before"
    CALLED = "called"
    OVER = "over"


class Interruptible(Protocol):
    """A lane, as seen from the loop's thread."""

    def interrupt(self, run: ThreadRun) -> None:
        """Raise what the run's `stop` stands for, if the lane still runs it."""
        ...


class ThreadRun:
    """One attempt whose function runs in a thread.

    Args:
        task: the asyncio task that will await the call.

    Attributes:
        stop: the strongest reason to stop that was asked for.
        phase: whether the call is still to come, made, or over.
        lane: the thread that makes the call; None before it does.
        took: what the call took; None where it was not made, or another's thread made it.
    """

    __slots__ = ("_task", "lane", "phase", "stop", "took")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.stop = Stop.NONE
        self.phase = Phase.BEFORE
        self.lane: Interruptible | None = None
        self.took: Took | None = None
        self._task = task

    def interrupt(self, stop: Stop) -> None:
        """Raise what `stop` stands for in the thread; called in the loop's thread.

        A reason that is not stronger than an earlier one does nothing. Before the function has
        begun it is raised in its place; once it has ended only HARD does anything: it cancels the
        task, middleware included.
        """
        if stop <= self.stop:
            return
        self.stop = stop
        if self.lane is not None:
            self.lane.interrupt(self)
        if stop is Stop.HARD and self.phase is not Phase.CALLED and self._task is not None:
            self._task.cancel()


class Call:
    """One call on its way to a thread and back. Made in the loop's thread, in the task's context.

    Attributes:
        run: whose call it is.
        ended: done once the call is over; set in the loop's thread.
        returned: the function returned.
        error: what it raised.
    """

    __slots__ = ("_context", "_function", "_value", "ended", "error", "returned", "run")

    def __init__(self, run: ThreadRun, function: Callable[[], Any]) -> None:
        self.run = run
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.returned = False
        self.error: BaseException | None = None
        self._function = function
        self._context = contextvars.copy_context()
        self._value: Any = None
        run.phase = Phase.CALLED

    def make(self, meter: ThreadMeter | None) -> None:
        """Call the function, in the lane's thread, which `meter` is of. Raises what it raises."""
        if self.run.stop:
            raise RAISED[self.run.stop]
        if meter is None:
            self._value = self._context.run(self._function)
            self.returned = True
            return
        began_s, wanted_s, used_s = time.monotonic(), meter.wanted_s(), time.process_time()
        try:
            self._value = self._context.run(self._function)
            self.returned = True
        finally:
            run_s, cpu_s = time.monotonic() - began_s, meter.wanted_s() - wanted_s
            self.run.took = Took(run_s, cpu_s, time.process_time() - used_s)

    def end(self) -> None:
        """Tell the waiting task, in the loop's thread."""
        self.run.phase = Phase.OVER
        if not self.ended.done():
            self.ended.set_result(None)

    def result(self) -> Any:
        """Return or raise what the function did; StopIteration comes as a RuntimeError."""
        error, self.error = self.error, None
        if error is None:
            return self._value
        try:
            raise error
        except StopIteration as stop:
            raise RuntimeError("the task raised StopIteration") from stop


class Lane:
    """Runs one call after the other in the thread that made it.

    A subclass says how the lane is entered and left, and how it is interrupted.

    Attributes:
        meter: of its thread; None: nobody wants to know what calls took.
    """

    __slots__ = ("meter",)

    def __init__(self, meter: ThreadMeter | None = None) -> None:
        self.meter = meter

    def run(self, call: Call) -> None:
        """Make the call and keep in it what came of it. Never raises.

        Race: an exception that was set just before the function ended may be raised anywhere in
        here. It is caught by one of the two levels, and what the call itself came to goes first.
        A third one would have to be set within the microseconds that leaving takes; reasons only
        rise, and are asked for by a person or a timer.
        """
        try:
            try:
                self.enter(call.run)
                call.make(self.meter)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting task
                call.error = error
            self.leave(call.run)
        except LATE as late:
            if not call.returned and call.error is None:
                call.error = late
            self.leave(call.run)

    def enter(self, run: ThreadRun) -> None:
        """From now on `run` can be interrupted."""
        raise NotImplementedError

    def leave(self, run: ThreadRun) -> None:
        """From now on nothing meant for `run` is raised here. Repeating it changes nothing."""
        raise NotImplementedError
