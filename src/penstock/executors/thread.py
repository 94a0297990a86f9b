"""Runs plain functions in threads that can be interrupted as far as Python lets us.

An interruption raises an exception in the thread at its next bytecode. A call into C that does not
return is not interrupted; neither is code that swallows the exception. Only the end of the process
helps there, and that is the supervisor's to decide.

Source: `PyThreadState_SetAsyncExc` of Python's C API.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from penstock.executors.lane import LATE, RAISED, Call, Lane, ThreadRun
from penstock.executors.thread_meter import ThreadMeter


class ThreadExecutor:
    """A pool of threads, as many as there ever were calls at once: the caller sets the bound.

    All methods belong to the loop's thread.

    Args:
        name: threads are called `name-1`, `name-2`, ...
    """

    def __init__(self, name: str = "penstock-task") -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[Call | None] = SimpleQueue()
        self._ended: deque[Call] = deque()
        self._called_back = False
        self._busy = 0
        self._threads = 0

    async def call(self, run: ThreadRun, function: Callable[[], Any]) -> Any:
        """Call `function` in a thread, under a copy of the caller's context variables.

        Raises:
            BaseException: what the function raised; StopIteration comes as a RuntimeError, as it
                does from a coroutine.
        """
        call = Call(run, function)
        self._busy += 1
        if self._busy > self._threads:
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
        meter = ThreadMeter()
        lane = _ThreadLane(meter)
        try:
            while self._work_once(lane):
                pass
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return
        finally:
            meter.close()

    def _work_once(self, lane: _ThreadLane) -> bool:
        """Make one call; return False once closed. What the call held is let go of at the end."""
        call = self._waiting.get()
        if call is None:
            return False
        lane.run(call)
        self._ended.append(call)
        # Race: `_deliver` clears the flag before it looks, so that no end is overlooked; under load
        # one wake-up of the loop serves many ends.
        if not self._called_back:
            self._called_back = True
            self._loop.call_soon_threadsafe(self._deliver)
        return True

    def _deliver(self) -> None:
        self._called_back = False
        while self._ended:
            self._busy -= 1
            self._ended.popleft().end()


class _ThreadLane(Lane):
    """Exceptions are set by Python's own means, under a lock.

    Invariant: setting takes the lock and looks at `_run`. So once `_run` is cleared under the lock
    nothing can be set any more, and what was set and not yet raised is taken back in that step.
    """

    __slots__ = ("_ident", "_lock", "_run")

    def __init__(self, meter: ThreadMeter) -> None:
        super().__init__(meter)
        self._ident = threading.get_ident()
        self._lock = threading.Lock()
        self._run: ThreadRun | None = None

    def enter(self, run: ThreadRun) -> None:
        with self._lock:
            self._run = run
            run.lane = self

    def interrupt(self, run: ThreadRun) -> None:
        """Raise what the run's `stop` stands for, if this thread still runs it."""
        with self._lock:
            if self._run is run:
                _raise_in(self._ident, RAISED[run.stop])

    def leave(self, run: ThreadRun) -> None:
        while self._run is not None:
            try:
                with self._lock:
                    self._run = None
                    if run.stop:
                        _raise_in(self._ident, None)
            except LATE:
                continue


def _raise_in(ident: int, error: type[BaseException] | None) -> None:
    """Raise `error` in a thread at its next bytecode; None: take back what was not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), ctypes.py_object() if error is None else ctypes.py_object(error)
    )
