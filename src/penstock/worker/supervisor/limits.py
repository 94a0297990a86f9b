"""Hard time limits of attempts in runners: kept by the supervisor, since a thread can ignore them.

A runner ends what it can by itself. What is still watched `kill_grace` after its limit costs the
runner its life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from penstock.core.clock import Clock
from penstock.core.ids import AttemptKey
from penstock.core.job import StoredError
from penstock.core.outcome import CancelledByRequest, TimedOut
from penstock.worker.pulse import Bell

from .eviction import Evictions
from .runner_process import Phase, RunnerProcess
from .runners import Runners

#: Milliseconds by which this loop may wake too late before it believes that it was itself stopped
#: (a suspended host, SIGSTOP). Attempts then get their grace once more: they were stopped too.
_LATE_MS: Final = 1_000


class Limits:
    """Watches hard limits, and cancels that were ignored."""

    def __init__(
        self, runners: Runners, evictions: Evictions, clock: Clock, *, kill_grace_ms: int
    ) -> None:
        """Be told of limits by `runners`."""
        self._runners = runners
        self._evictions = evictions
        self._clock = clock
        self._grace_ms = kill_grace_ms
        self._bell = Bell()
        self._look_at_ms: int | None = None
        runners.on_watch = self._watched
        runners.on_overran = self._overran

    async def run(self) -> None:
        """Look whenever the earliest limit has passed, for ever."""
        while True:
            due_ms = min((due for _, _, due in self._watches()), default=None)
            self._look_at_ms = due_ms
            wait_ms = None if due_ms is None else max(0, due_ms - self._clock.boot_ms())
            if wait_ms is None or wait_ms > 0:
                if await self._bell.sleep(None if wait_ms is None else wait_ms / 1000):
                    continue
                if due_ms is not None and self._clock.boot_ms() - due_ms > _LATE_MS:
                    await asyncio.sleep(self._grace_ms / 1000)
            self._end_overdue()

    def _watches(self) -> Iterator[tuple[RunnerProcess, AttemptKey, int]]:
        """Yield (runner, attempt, boot time at which it is overdue) of those not culprits yet."""
        for runner in self._runners.all:
            if runner.phase is Phase.ENDED:
                continue
            for attempt, hard_ms in runner.watched.items():
                if attempt not in runner.culprits:
                    yield runner, attempt, hard_ms + self._grace_ms

    def _end_overdue(self) -> None:
        now_ms = self._clock.boot_ms()
        for runner, attempt, due_ms in list(self._watches()):
            if due_ms <= now_ms:
                text = (
                    "the hard time limit passed, the attempt did not end, and its runner was killed"
                )
                self._evictions.evict(runner, attempt, TimedOut(StoredError("timed_out", text)))

    def _watched(self, hard_boot_ms: int) -> None:
        if self._look_at_ms is None or hard_boot_ms + self._grace_ms < self._look_at_ms:
            self._bell.ring()

    def _overran(self, runner: RunnerProcess, jobs: tuple[AttemptKey, ...]) -> None:
        text = "its cancel was requested, the attempt did not end, and its runner was killed"
        for attempt in jobs:
            self._evictions.evict(
                runner, attempt, CancelledByRequest(StoredError("cancelled", text))
            )
