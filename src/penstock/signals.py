"""What a task raises to steer its own attempt, and what is raised into it.

These stand outside PenstockError on purpose: `except PenstockError` in a task must not swallow
them.
"""

from __future__ import annotations

from datetime import timedelta


class Retry(Exception):
    """Raise in a task: this attempt failed, try again. Charged as one error.

    Args:
        after: wait before the next attempt: seconds, timedelta or "30s". None: the task's backoff.
        reason: text kept with the attempt.
    """

    def __init__(self, after: float | timedelta | str | None = None, reason: str = "") -> None:
        """Keep the wait and the reason."""
        super().__init__(reason or "retry requested")
        self.after = after
        self.reason = reason


class Snooze(Exception):
    """Raise in a task: not now, run me again later. Nothing is charged.

    Args:
        delay: seconds, timedelta or "30s".
        reason: text kept with the attempt.
    """

    def __init__(self, delay: float | timedelta | str, reason: str = "") -> None:
        """Keep the delay and the reason."""
        super().__init__(reason or "snoozed")
        self.delay = delay
        self.reason = reason


class Discard(Exception):
    """Raise in a task: this job is pointless now. It ends cancelled, with reason `discarded`."""

    def __init__(self, reason: str = "") -> None:
        """Keep the reason."""
        super().__init__(reason or "discarded")
        self.reason = reason


class SoftTimeLimit(Exception):
    """Raised once into a task whose soft time limit passed, so that it can tidy up.

    In a coroutine it is raised at the next await; in the main thread of a child at the next
    bytecode, even out of a sleeping system call; in a worker thread at the next bytecode only:
    a call into C that does not return is not interrupted there.
    """


class CancelRequested(BaseException):
    """Raised once into a running task when its job is cancelled.

    A BaseException, as asyncio.CancelledError is, so that `except Exception` does not swallow it.
    """
