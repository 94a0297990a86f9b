"""Runs plain functions one at a time in the main thread of a process, while a loop runs in another.

In the main thread a signal's handler can raise: that interrupts even a sleeping system call, which
nothing can in any other thread. A child runs its `def` tasks this way.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final

from penstock.executors.lane import LATE, RAISED, Call, Lane, ThreadRun

#: Wakes the main thread so that its handler raises; SIGUSR2 asks for stacks (`worker.wire`).
INTERRUPT_SIGNAL: Final = signal.SIGUSR1


class MainThreadExecutor:
    """Takes calls from a loop in another thread. Made in the main thread, before the loop runs."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Call, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        self._lane = _SignalLane()

    async def call(self, run: ThreadRun, function: Callable[[], Any]) -> Any:
        """Call `function` in the main thread, under a copy of the caller's context variables.

        Raises:
            BaseException: what the function raised.
        """
        call = Call(run, function)
        self._waiting.put((call, asyncio.get_running_loop()))
        await call.ended
        return call.result()

    def serve(self, after: Callable[[], None]) -> None:
        """Make the calls that come until `stop`, in the main thread; `after` follows each."""
        while self._serve_once(after):
            pass

    def _serve_once(self, after: Callable[[], None]) -> bool:
        """Make one call; return False once stopped. What the call held is let go of at the end."""
        came = self._waiting.get()
        if came is None:
            return False
        call, loop = came
        self._lane.run(call)
        after()
        loop.call_soon_threadsafe(call.end)
        return True

    def stop(self) -> None:
        """Let `serve` return; callable from any thread."""
        self._waiting.put(None)


class _SignalLane(Lane):
    """Exceptions are raised by the handler of a signal, which Python runs in the main thread only.

    Invariant: the handler raises only between `enter` and `leave` of the run it was asked for; a
    signal from elsewhere, or one that comes late, does nothing.
    """

    __slots__ = ("_asked", "_ident", "_run")

    def __init__(self) -> None:
        super().__init__()
        self._ident = threading.get_ident()
        self._run: ThreadRun | None = None
        self._asked: ThreadRun | None = None
        signal.signal(INTERRUPT_SIGNAL, self._raise)

    def enter(self, run: ThreadRun) -> None:
        self._run = run
        run.lane = self

    def interrupt(self, run: ThreadRun) -> None:
        """Raise what the run's `stop` stands for, if the main thread still runs it."""
        if self._run is run:
            self._asked = run
            signal.pthread_kill(self._ident, INTERRUPT_SIGNAL)

    def leave(self, run: ThreadRun) -> None:
        while self._run is run:
            try:
                self._run = None
            except LATE:
                continue

    def _raise(self, _signal: int, _frame: FrameType | None) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and asked is self._run:
            raise RAISED[asked.stop]
