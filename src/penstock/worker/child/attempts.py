"""The attempt in a child: its words go to the supervisor, which writes them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final

import msgspec

from penstock.broker.requests import LOG_LINES_MAX
from penstock.context import CURRENT, CurrentJob
from penstock.core.job import Claimed
from penstock.executors.stop import Stop
from penstock.worker.attempt import Attempt
from penstock.worker.error_text import capped
from penstock.worker.pipe import Pipe
from penstock.worker.wire import Noted, ToChild

#: Seconds between two messages with progress and log lines: at most 10 a second (design.md §4).
_PACE_S: Final = 0.1
#: Bytes of one log line.
_LINE_BYTES_MAX: Final = 8_192


class ChildAttempt(Attempt):
    """One attempt, and the `context.Sinks` of its task. Words may come from any thread.

    Args:
        job: as claimed.
        pipe: to the supervisor.
        loop: in which what is not urgent is sent.
    """

    __slots__ = ("_lines", "_lock", "_loop", "_pipe", "_progress", "_sent_at", "_timer", "timer")

    def __init__(self, job: Claimed, pipe: Pipe[ToChild], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(job)
        self._pipe = pipe
        self._loop = loop
        self._lock = threading.Lock()
        self._progress: msgspec.Raw | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self._sent_at = -_PACE_S
        self._timer: asyncio.TimerHandle | None = None
        self.timer: asyncio.TimerHandle | None = None

    def progress(self, value: msgspec.Raw, /) -> None:
        """Replace the job's progress, soon."""
        with self._lock:
            self._progress = value
        self._loop.call_soon_threadsafe(self._send_soon)

    def log(self, line: str, /) -> None:
        """Append a line to the job's log, soon."""
        with self._lock:
            self._lines.append(capped(line, _LINE_BYTES_MAX))
        self._loop.call_soon_threadsafe(self._send_soon)

    def checkpoint(self, value: msgspec.Raw, /) -> None:
        """Hand what the next attempt will find to the supervisor, now: it outlives this process."""
        with self._lock:
            self._pipe.send(Noted(self.job.id, checkpoint=value))

    def cancelled(self) -> bool:
        """Return whether the job's cancel is requested, or the worker stops."""
        return self.stop >= Stop.CANCEL

    def send_notes(self) -> None:
        """Send what waits; the last words go out before the attempt's end is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self._lock:
            progress, self._progress = self._progress, None
            lines = tuple(self._lines)
            self._lines.clear()
            if progress is not None or lines:
                self._sent_at = self._loop.time()
                said = msgspec.UNSET if progress is None else progress
                self._pipe.send(Noted(self.job.id, progress=said, log=lines))

    def _send_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(self._sent_at + _PACE_S, self.send_notes)


def enter(attempt: Attempt) -> CurrentJob:
    """Make `current_job()` return this attempt's job in the running task."""
    assert isinstance(attempt, ChildAttempt)  # noqa: S101 - a child makes no other
    current = CurrentJob(attempt.job, attempt)
    CURRENT.set(current)
    return current


class SoftLimit:
    """The `LimitKeeper` of a child: soft limits only, the supervisor keeps the hard ones."""

    def begin(self, attempt: Attempt) -> None:
        """Start the timer; user code is about to start."""
        assert isinstance(attempt, ChildAttempt)  # noqa: S101 - a child makes no other
        loop = asyncio.get_running_loop()
        attempt.timer = loop.call_later(attempt.soft_ms / 1000, attempt.interrupt, Stop.SOFT)

    def end(self, attempt: Attempt) -> None:
        """Stop the timer; user code has ended."""
        assert isinstance(attempt, ChildAttempt)  # noqa: S101 - the same
        if attempt.timer is not None:
            attempt.timer.cancel()
