"""Runs plain functions in threads that can be interrupted as far as Python lets us.

An interruption raises an exception in the thread at its next bytecode. A call into C that does not
return is not interrupted; neither is code that swallows the exception. Only the end of the process
helps there, and that is the supervisor's to decide.

Source: `PyThreadState_SetAsyncExc` of Python's C API; ADR-0013 says how the race with a call that
just ended is closed.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from queue import SimpleQueue
from typing import Any, Final

from penstock.executors.stop import Stop
from penstock.signals import CancelRequested, SoftTimeLimit

_RAISED: Final[dict[Stop, type[BaseException]]] = {
    Stop.SOFT: SoftTimeLimit,
    Stop.CANCEL: CancelRequested,
    Stop.DRAIN: CancelRequested,
    Stop.HARD: CancelRequested,
}


class _Phase(Enum):
    BEFORE = "before"
    CALLED = "called"
    OVER = "over"


class ThreadRun:
    """One attempt whose function runs in a thread. Made in the task that will await the call.

    Attributes:
        stop: the strongest reason to stop that was asked for.
        phase: whether the call is still to come, made, or over.
        lane: the thread that makes the call.
    """

    __slots__ = ("_task", "lane", "phase", "stop")

    def __init__(self) -> None:
        self.stop = Stop.NONE
        self.phase = _Phase.BEFORE
        self.lane: _Lane | None = None
        self._task = asyncio.current_task()

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
        if stop is Stop.HARD and self.phase is not _Phase.CALLED and self._task is not None:
            self._task.cancel()


class ThreadExecutor:
    """A pool of threads that grows to `size`. All methods belong to the loop's thread.

    The caller starts no more calls at once than there are threads; a surplus waits in order.

    Args:
        size: threads at most.
        name: threads are called `name-1`, `name-2`, ...
    """

    def __init__(self, size: int, *, name: str = "penstock-task") -> None:
        self._size = size
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended: deque[_Call] = deque()
        self._called_back = False
        self._busy = 0
        self._threads = 0

    async def call(self, run: ThreadRun, function: Callable[[], Any]) -> Any:
        """Call `function` in a thread, under a copy of the caller's context variables.

        Raises:
            BaseException: what the function raised; StopIteration comes as a RuntimeError, as it
                does from a coroutine.
        """
        call = _Call(run, function, contextvars.copy_context(), self._loop.create_future())
        run.phase = _Phase.CALLED
        self._busy += 1
        if self._busy > self._threads < self._size:
            self._threads += 1
            # Daemon: a call that never returns must not keep the process from ending.
            threading.Thread(
                target=self._work, name=f"{self._name}-{self._threads}", daemon=True
            ).start()
        self._waiting.put(call)
        await call.ended
        return call.result()

    def close(self) -> None:
        """Let idle threads end; those that still run a call end after it."""
        for _ in range(self._threads):
            self._waiting.put(None)

    def _work(self) -> None:
        lane = _Lane()
        while (call := self._waiting.get()) is not None:
            lane.run(call)
            self._ended.append(call)
            # Race: `_deliver` clears the flag before it looks, so that no end is overlooked; under
            # load one wake-up of the loop serves many ends.
            if not self._called_back:
                self._called_back = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # The loop is closed: nobody waits any more.
                    return

    def _deliver(self) -> None:
        self._called_back = False
        while self._ended:
            call = self._ended.popleft()
            self._busy -= 1
            call.run.phase = _Phase.OVER
            if not call.ended.done():
                call.ended.set_result(None)


class _Call:
    """One call on its way to a thread and back."""

    __slots__ = ("context", "ended", "error", "function", "returned", "run", "value")

    def __init__(
        self,
        run: ThreadRun,
        function: Callable[[], Any],
        context: contextvars.Context,
        ended: asyncio.Future[None],
    ) -> None:
        self.run = run
        self.function = function
        self.context = context
        self.ended = ended
        self.returned = False
        self.value: Any = None
        self.error: BaseException | None = None

    def make(self) -> None:
        """Call the function, in the thread. Raises what it raises."""
        if self.run.stop:
            raise _RAISED[self.run.stop]
        self.value = self.context.run(self.function)
        self.returned = True

    def result(self) -> Any:
        """Return or raise what the function did."""
        error, self.error = self.error, None
        if error is None:
            return self.value
        try:
            raise error
        except StopIteration as stop:
            raise RuntimeError("the task raised StopIteration") from stop


class _Lane:
    """What one thread runs, and the only place where an exception is raised into it."""

    __slots__ = ("_ident", "_lock", "_run")

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        self._lock = threading.Lock()
        self._run: ThreadRun | None = None

    def run(self, call: _Call) -> None:
        """Make the call and keep in it what came of it."""
        run = call.run
        try:
            try:
                with self._lock:
                    self._run = run
                    run.lane = self
                call.make()
            except BaseException as error:  # noqa: BLE001 - handed to the waiting coroutine
                call.error = error
            self._leave(run)
        except (SoftTimeLimit, CancelRequested) as late:
            # Race: raised while the call ended. What the call itself came to goes first.
            if not call.returned and call.error is None:
                call.error = late
            self._leave(run)

    def interrupt(self, run: ThreadRun) -> None:
        """Raise what the run's `stop` stands for, if this thread still runs it."""
        with self._lock:
            if self._run is run:
                _raise_in(self._ident, _RAISED[run.stop])

    def _leave(self, run: ThreadRun) -> None:
        """Make sure that nothing asked for this run can hit the next one.

        Race: an exception set just before the function ended is raised somewhere below. Setting
        takes the lock and looks at `_run`; so once `_run` is cleared under the lock no other can be
        set, and one that was set and not yet raised is taken back in the same step.
        """
        while self._run is not None:
            try:
                with self._lock:
                    self._run = None
                    if run.stop:
                        _raise_in(self._ident, None)
            except (SoftTimeLimit, CancelRequested):
                continue


def _raise_in(ident: int, error: type[BaseException] | None) -> None:
    """Raise `error` in a thread at its next bytecode; None: take back what was not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), ctypes.py_object() if error is None else ctypes.py_object(error)
    )
