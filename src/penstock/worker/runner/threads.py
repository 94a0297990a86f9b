"""The thread slots of a runner: which are free, for whom, and what the jobs in them are like.

There are full slots, which threads and children share, and those of the light lane, which come on
top and are for light jobs. What is not known to be long may use the lane, since a task has to run
before it can be known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from penstock.core.job import ALONE, THREAD, THREAD_FULL
from penstock.core.pace import Kind, pace_sums, tells_pace
from penstock.tasks.registry import Registration
from penstock.worker import wire

from .attempts import RunnerAttempt

#: Seconds for which runs gather before the supervisor is told of them.
_TELL_S: Final = 1.0
_MS: Final = 1_000.0
#: Share of a run in which the process used the processor, from which on its threads may have waited
#: for the interpreter: short of all of it, since handing it on takes time too.
_FULL_PART: Final = 0.8


class Elsewhere(NamedTuple):
    """Where a job belongs that cannot start here: the ready set, and why, for people."""

    need: str
    why: str


class Threads:
    """Counts the plain jobs that run. Belongs to the loop's thread.

    Attributes:
        full_max: full slots that the supervisor has granted.
        light_max: slots of the light lane.
        busy: plain jobs under way.
    """

    def __init__(
        self, tell: Callable[[wire.Paced], None], *, full: int, light: int, light_ms: int = 0
    ) -> None:
        """Begin with all slots free.

        Args:
            tell: passes on what runs took.
            full: slots that the supervisor grants.
            light: slots of the light lane.
            light_ms: how long runs of a light task last at most.
        """
        self.full_max = full
        self.light_max = light
        self.busy = 0
        self._light = 0
        self._light_ms = light_ms
        self._kinds: Mapping[str, Kind] = {}
        self._tell = tell
        self._untold: dict[str, dict[str, float]] = {}

    def learn(self, kinds: Mapping[str, Kind]) -> None:
        """Take in what tasks are like, by name; one that is missing is not known."""
        self._kinds = kinds

    @property
    def total(self) -> int:
        """Jobs that may run at once."""
        return self.full_max + self.light_max

    @property
    def full_busy(self) -> int:
        """Full slots in use; light jobs take those of the lane first."""
        return self.busy - min(self._light, self.light_max)

    def free_full(self) -> int:
        """Return how many full slots are free; fewer than none where some were taken back."""
        return self.full_max - self.full_busy

    def free_light(self) -> int:
        """Return how many slots of the lane are free."""
        return self.light_max - self._light

    def claimable(self) -> tuple[tuple[str, ...], int]:
        """Return the ready sets to claim from, and how many jobs."""
        full = self.free_full()
        # Jobs of the common set may be of either kind: each must find a slot.
        return ((THREAD, THREAD_FULL), full) if full > 0 else ((THREAD,), self.free_light())

    def elsewhere(self, task: Registration) -> Elsewhere | None:
        """Return where a plain job has to wait; None: it may start here, now."""
        is_busy = self._kinds.get(task.name) is Kind.BUSY and not task.light
        if is_busy and task.isolation != "thread":
            return Elsewhere(ALONE, "its task was measured to hold the CPU: it runs in a child")
        if self.free_full() > 0:
            return None
        if not self._is_light(task):
            return Elsewhere(THREAD_FULL, "its task is not light, and only light slots are free")
        return None if self.free_light() > 0 else Elsewhere(THREAD, "no slot is free any more")

    def begin(self, attempt: RunnerAttempt, task: Registration) -> None:
        """Count a job that starts."""
        attempt.is_light = self._is_light(task)
        self.busy += 1
        self._light += attempt.is_light

    def end(self, attempt: RunnerAttempt, *, is_success: bool) -> None:
        """Count a job no more, and take in what its run took."""
        took, task = attempt.took, attempt.registration
        if (
            took is not None
            and task is not None
            and tells_pace(took.run_s * _MS, self._light_ms, went_well=is_success)
        ):
            # Where the interpreter had time to spare, nobody waited for it.
            is_full = took.process_cpu_s >= _FULL_PART * took.run_s
            sums = pace_sums(
                took.run_s * _MS,
                took.cpu_s * _MS,
                side_by_side=self.busy if is_full else 1,
                at_ms=round(time.time() * _MS),
            )
            if not self._untold:
                asyncio.get_running_loop().call_later(_TELL_S, self.tell)
            kept = self._untold.setdefault(task.name, {})
            for name, amount in sums.items():
                kept[name] = kept.get(name, 0.0) + amount
        self.busy -= 1
        self._light -= attempt.is_light

    def tell(self) -> None:
        """Tell now what runs took since the last time."""
        untold, self._untold = self._untold, {}
        if untold:
            self._tell(wire.Paced(untold))

    def _is_light(self, task: Registration) -> bool:
        if task.light is not None:
            return task.light
        return self._kinds.get(task.name, Kind.UNKNOWN) in (Kind.LIGHT, Kind.UNKNOWN)
