"""Exclusive jobs of a worker that cannot reach its broker: killed before their lease can run out.

What must be is decided by `core/partition.py`; here the clock is looked at and children are ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from penstock.core import partition
from penstock.core.clock import Clock
from penstock.core.job import Claimed
from penstock.core.partition import OnPartition
from penstock.core.wording import counted
from penstock.worker.pulse import Bell

from .halt import Halt
from .leases import Leases
from .lone_attempt import LoneAttempt
from .task_facts import Tasks

_log = logging.getLogger("penstock.worker")

#: Seconds between two looks at the clock of the boot while an exclusive job runs. The loop's own
#: clock stands still while the machine is suspended; a sleep to the end would then come too late.
_LOOK_S: Final = 0.1


class CutOff:
    """Watches the supervisor's own lease for the jobs that must not outlive it.

    Attributes:
        bell: rung when an attempt begins.
    """

    def __init__(
        self, leases: Leases, tasks: Tasks, clock: Clock, *, lease_ttl_ms: int,
        attempts: Callable[[], Iterable[LoneAttempt]],
    ) -> None:  # fmt: skip
        """Watch those of `attempts`: of the supervisor's children, all that are not settled."""
        self._leases = leases
        self._tasks = tasks
        self._clock = clock
        self._ttl_ms = lease_ttl_ms
        self._attempts = attempts
        self.bell = Bell()

    @property
    def may_claim(self) -> bool:
        """Whether any job that is claimed now may begin."""
        return self._may_begin("kill", self._leases.runs_out_ms(self._leases.own))

    def may_begin(self, job: Claimed) -> bool:
        """Return whether a job that was claimed may still begin."""
        return self._may_begin(
            self._tasks.on_partition(job.spec.task), self._leases.runs_out_ms(job.lease)
        )

    async def run(self) -> None:
        """Kill what must not run on, for ever."""
        while True:
            due_ms = min((ends for _, ends in self._watched()), default=None)
            if due_ms is None:
                await self.bell.sleep()
                continue
            left_ms = due_ms - self._clock.boot_ms()
            if left_ms > 0:
                await asyncio.sleep(min(_LOOK_S, left_ms / 1000))
                continue
            self._end([attempt for attempt, ends in self._watched() if ends <= due_ms])

    def _end(self, attempts: list[LoneAttempt]) -> None:
        _log.warning(
            "the broker is out of reach and the lease about to run out: %s killed, as "
            "exclusive or on_partition asks for; what goes on is refused if others have begun it",
            counted(len(attempts), "job is", "jobs are"),
        )
        for attempt in attempts:
            attempt.halt(Halt.CUT_OFF)

    def _watched(self) -> Iterator[tuple[LoneAttempt, int]]:
        """Yield attempts that are not told yet, each with the boot time at which it is to end."""
        for attempt in self._attempts():
            if attempt.told < Halt.CUT_OFF:
                ends_ms = partition.ends_at_ms(
                    self._tasks.on_partition(attempt.job.spec.task),
                    runs_out_ms=self._leases.runs_out_ms(attempt.job.lease),
                    lease_ttl_ms=self._ttl_ms,
                )
                if ends_ms is not None:
                    yield attempt, ends_ms

    def _may_begin(self, on_partition: OnPartition, runs_out_ms: int) -> bool:
        return partition.may_begin(
            on_partition,
            runs_out_ms=runs_out_ms,
            lease_ttl_ms=self._ttl_ms,
            now_ms=self._clock.boot_ms(),
        )
