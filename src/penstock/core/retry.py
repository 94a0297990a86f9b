"""How long to wait before the next attempt, and how many attempts there are."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from penstock.core.units import Duration, duration_ms
from penstock.errors import BadSetting

Jitter = Literal["full", "equal", "none"]

#: Further attempts after the first; 3 is what most of the field does (peers.md §5).
RETRIES_DEFAULT: Final = 3
#: Crashes of a job alone in its process before it is poison; Sidekiq Pro's rule of three.
CRASHES_MAX: Final = 3
#: Milliseconds after which earlier crashes count no more: 72 h, with the rule of three. A long job
#: whose worker dies once a month is unlucky, not poison.
CRASH_WINDOW_MS: Final = 72 * 3_600_000
#: Further attempts after those that ran out of memory: at x1.5 and x2.25 (reliability.md §4.7).
OOM_RETRIES_DEFAULT: Final = 2
#: Times a job of an unknown task is snoozed, and for how long: a rolling deploy of five minutes.
UNKNOWN_TASK_SNOOZES_MAX: Final = 10
UNKNOWN_TASK_SNOOZE_MS: Final = 30_000
_DOUBLINGS_MAX: Final = 62


class Backoff(msgspec.Struct, frozen=True):
    """A wait that doubles: base, 2 x base, 4 x base, ... up to the cap.

    Attributes:
        base_ms: wait before the first retry, before jitter.
        cap_ms: no wait is longer.
        jitter: "full": uniform in [0, wait]; "equal": half fixed, half uniform; "none": the wait.

    Source: full and equal jitter after AWS's "Exponential Backoff And Jitter" (2015).
    """

    base_ms: int
    cap_ms: int
    jitter: Jitter = "full"

    def delay_ms(self, failures: int, random_unit: float) -> int:
        """Return the wait after the `failures`-th failure (1, 2, ...).

        Args:
            failures: how many attempts failed so far, at least 1.
            random_unit: a number in [0, 1), drawn by the caller.
        """
        wait = min(self.cap_ms, self.base_ms << min(failures - 1, _DOUBLINGS_MAX))
        if self.jitter == "full":
            return round(wait * random_unit)
        if self.jitter == "equal":
            return round(wait / 2 + wait / 2 * random_unit)
        return wait


def Exponential(  # noqa: N802 - reads as a type at the call: backoff=Exponential(base="2s")
    base: Duration = "2s", cap: Duration = "15min", jitter: Jitter = "full"
) -> Backoff:
    """Return a doubling backoff; durations are seconds, timedelta or text such as "2s".

    Raises:
        BadSetting: a duration is not readable, the base is over the cap, or jitter is unknown.
    """
    base_ms = duration_ms(base, name="backoff base")
    cap_ms = duration_ms(cap, name="backoff cap")
    if base_ms > cap_ms:
        message = f"backoff base {base!r} is over its cap {cap!r}: give a base up to the cap"
        raise BadSetting(message)
    if jitter not in ("full", "equal", "none"):
        message = f"jitter {jitter!r} is unknown: use 'full', 'equal' or 'none'"
        raise BadSetting(message)
    return Backoff(base_ms=base_ms, cap_ms=cap_ms, jitter=jitter)


BACKOFF_DEFAULT: Final = Backoff(base_ms=2_000, cap_ms=900_000, jitter="full")


class RetryPolicy(msgspec.Struct, frozen=True):
    """What a task says about failures.

    Attributes:
        retries: further attempts after the first for errors.
        crashes_max: crashes alone in a process before the job is poison.
        backoff: wait between attempts.
        oom_retries: further attempts after those that ran out of memory, each with more of it.
    """

    retries: int = RETRIES_DEFAULT
    crashes_max: int = CRASHES_MAX
    backoff: Backoff = BACKOFF_DEFAULT
    oom_retries: int = OOM_RETRIES_DEFAULT


POLICY_DEFAULT: Final = RetryPolicy()
