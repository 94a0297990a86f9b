"""Whether a warm child has piled up what its jobs left behind, and which task did it. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.executors.procfs import Holdings

#: Jobs after which a child is looked at again. A hundred starts of an interpreter cost more than a
#: hundred small jobs, so that a child is replaced for what it holds, not for its number of jobs.
LOOK_JOBS: Final = 100
#: Bytes of memory above those at its start past which a child is replaced: well above what caches
#: of an interpreter take, and little beside what the machine has.
_GROWTH_BYTES_MAX: Final = 64 * 2**20
#: Open files above those at its start, likewise: an eighth of the usual limit of 1,024.
_GROWTH_DESCRIPTORS_MAX: Final = 128
#: What a child may grow by since it is warm: a twentieth of what its job was given, at least this.
#: It is half of what the limit leaves above the reservation; the other half is for the job.
_LEAK_PART: Final = 0.05
_LEAK_BYTES: Final = 16 * 2**20


def has_piled_up(at_start: Holdings | None, now: Holdings | None) -> bool:
    """Return whether a child holds much more than it did; True if that cannot be known."""
    if at_start is None or now is None:
        return True
    return (
        now.resident_bytes - at_start.resident_bytes > _GROWTH_BYTES_MAX
        or now.descriptors - at_start.descriptors > _GROWTH_DESCRIPTORS_MAX
    )


class Grown(NamedTuple):
    """What a child held more after a job than before it; negative: less."""

    task: str
    growth_bytes: int


class Wear:
    """What its jobs leave in one child.

    Args:
        made_at_s: time of the loop at which it was made.

    Attributes:
        at_start: what it held before its first job.
        reserved_bytes: what its last job was given under a limit; None: it had none.
    """

    def __init__(self, made_at_s: float) -> None:
        self.made_at_s = made_at_s
        self.at_start: Holdings | None = None
        self.reserved_bytes: int | None = None
        self._warm_bytes: int | None = None
        self._last: tuple[str, int] | None = None
        # Bound: as many as the app has tasks.
        self._known: set[str] = set()

    def begins(self, task: str, baseline_bytes: int) -> Grown | None:
        """Take in what the child holds before a job; return what the job before left in it.

        What a task leaves the first time is no leak: modules that it imports, caches that it fills.
        """
        grown = self.ends(baseline_bytes)
        self._last = (task, baseline_bytes)
        return grown

    def ends(self, held_bytes: int) -> Grown | None:
        """Take in what the child holds when no job follows; return what the last one left in it."""
        last, self._last = self._last, None
        if last is None:
            return None
        is_first = last[0] not in self._known
        self._known.add(last[0])
        return None if is_first else Grown(last[0], held_bytes - last[1])

    def has_leaked(self, now: Holdings | None) -> bool:
        """Return whether the child has grown into what its jobs are given, since its first one.

        Args:
            now: what it holds, after a job under a limit.
        """
        if now is None or self.reserved_bytes is None:
            return False
        if self._warm_bytes is None:
            self._warm_bytes = now.resident_bytes
        room = max(_LEAK_BYTES, round(self.reserved_bytes * _LEAK_PART))
        return now.resident_bytes - self._warm_bytes > room
