"""An attempt in a runner: what the runner knows of it, and where its words go."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, Final

from penstock.context import CURRENT, CurrentJob
from penstock.core.ids import AttemptKey
from penstock.core.job import Claimed
from penstock.errors import LeaseLost
from penstock.executors.stop import Stop
from penstock.tasks.registry import Registration
from penstock.telemetry.logs import fields_of
from penstock.worker.attempt import Attempt

if TYPE_CHECKING:
    import msgspec

    from penstock.worker.runner.notes import NoteBook

_log = logging.getLogger("penstock.runner")

#: Seconds between two looks of a thread that waits for its checkpoint: so often an interruption
#: can be raised in it.
_LOOK_S: Final = 0.25


class RunnerAttempt(Attempt):
    """One attempt, and the `context.Sinks` of its task.

    Attributes:
        is_plain: it occupies a thread; else a coroutine slot.
        is_light: its thread may be one of the light lane.
        timers: of its time limits.
        has_notes: user code has said something that is to be kept.
        is_lost: its fence is known to have moved on.
        is_given_up: it was released while it still ran; what it comes to is nobody's concern.
        claimed_s: when it was claimed; monotonic seconds.
    """

    __slots__ = (
        "_notes",
        "claimed_s",
        "has_notes",
        "is_given_up",
        "is_light",
        "is_lost",
        "is_plain",
        "timers",
    )

    def __init__(self, job: Claimed, notes: NoteBook, registration: Registration | None) -> None:
        super().__init__(job, registration)
        self._notes = notes
        self.is_plain = registration is not None and not registration.is_async
        self.is_light = False
        self.timers: tuple[asyncio.TimerHandle, ...] = ()
        self.has_notes = False
        self.is_lost = False
        self.is_given_up = False
        self.claimed_s = time.monotonic()

    @property
    def key(self) -> AttemptKey:
        """Names the attempt within the runner."""
        return self.job.id, self.job.fence

    def progress(self, value: msgspec.Raw, /) -> None:
        """Replace the job's progress, soon."""
        if not self.is_lost:
            self._notes.progress(self, value)

    def log(self, line: str, /) -> None:
        """Append a line to the job's log, soon."""
        if not self.is_lost:
            self._notes.log(self, line)

    def checkpoint(self, value: msgspec.Raw, /) -> None:
        """Replace what the next attempt will find, at once.

        In a thread this returns once it is written, however long the broker is away; in a coroutine
        it cannot wait.

        Raises:
            LeaseLost: another attempt owns the job: this one should end.
        """
        if self.is_lost:
            raise self.lease_lost()
        waiting = self._notes.checkpoint(self, value)
        while waiting is not None:
            try:
                waiting.result(timeout=_LOOK_S)
            except NotYet:
                continue
            return

    def cancelled(self) -> bool:
        """Return whether the job's cancel is requested, or the worker stops."""
        return self.stop >= Stop.CANCEL

    def lose(self, why: str) -> None:
        """Note that another attempt owns the job now; what this one writes is refused."""
        if not self.is_lost:
            self.is_lost = True
            _log.warning(
                "lease lost: job %s (%s, attempt %d) belongs to another attempt now: %s",
                self.job.id,
                self.job.spec.task,
                self.job.claim_number,
                why,
                extra=fields_of(self.job),
            )

    def lease_lost(self) -> LeaseLost:
        """Return the error that user code gets for writing after that."""
        return LeaseLost(
            f"job {self.job.id} belongs to another attempt now, nothing was written: end this one"
        )


def enter(attempt: Attempt) -> CurrentJob:
    """Make `current_job()` return this attempt's job in the running task."""
    assert isinstance(attempt, RunnerAttempt)  # noqa: S101 - a runner makes no other
    current = CurrentJob(attempt.job, attempt)
    CURRENT.set(current)
    return current
