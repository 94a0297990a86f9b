"""Time limits of the attempts of a runner: timers here, and the supervisor as the last resort.

A soft limit raises SoftTimeLimit in the task. A hard limit cancels a coroutine and raises
CancelRequested in a thread; what does not end by that is the supervisor's to kill, who watches
every attempt with a hard limit from before its first step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from penstock.core.clock import Clock
from penstock.executors.stop import Stop
from penstock.telemetry.logs import fields_of
from penstock.worker.attempt import Attempt
from penstock.worker.pipe import Pipe
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.wire import ToRunner, Unwatch, Watch

_log = logging.getLogger("penstock.runner")


class Limits:
    """The `LimitKeeper` of a runner.

    Args:
        pipe: to the supervisor.
        clock: whose boot time both know.
    """

    def __init__(self, pipe: Pipe[ToRunner], clock: Clock) -> None:
        self._pipe = pipe
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ended: list[Unwatch] = []

    def watch(self, attempts: Sequence[RunnerAttempt]) -> None:
        """Tell the supervisor of attempts with a hard limit, before any of them takes a step.

        Race: an attempt that never yields would keep the loop from telling it later.
        """
        boot_ms = self._clock.boot_ms()
        self._pipe.send(
            *(Watch(one.job.id, one.job.fence, boot_ms + one.hard_ms) for one in attempts)
        )

    def begin(self, attempt: Attempt) -> None:
        """Start the timers; user code is about to start."""
        assert isinstance(attempt, RunnerAttempt)  # noqa: S101 - a runner makes no other
        timers = []
        if attempt.soft_ms:
            after_s = attempt.soft_ms / 1000
            timers.append(self._loop.call_later(after_s, attempt.interrupt, Stop.SOFT))
        if attempt.hard_ms:
            timers.append(self._loop.call_later(attempt.hard_ms / 1000, self._overrun, attempt))
        attempt.timers = tuple(timers)

    def end(self, attempt: Attempt) -> None:
        """Stop the timers; user code has ended."""
        assert isinstance(attempt, RunnerAttempt)  # noqa: S101 - the same
        for timer in attempt.timers:
            timer.cancel()

    def unwatch(self, attempt: RunnerAttempt) -> None:
        """Tell the supervisor, once in this turn of the loop for all that ended in it."""
        if not self._ended:
            self._loop.call_soon(self._tell)
        self._ended.append(Unwatch(attempt.job.id, attempt.job.fence))

    def _tell(self) -> None:
        ended, self._ended = self._ended, []
        self._pipe.send(*ended)

    def _overrun(self, attempt: RunnerAttempt) -> None:
        _log.warning(
            "hard time limit: job %s (%s) is ended; if it does not end, its runner is",
            attempt.job.id,
            attempt.job.spec.task,
            extra=fields_of(attempt.job),
        )
        attempt.interrupt(Stop.HARD)
