"""Whether a warm child has piled up what its jobs left behind. Pure."""

from __future__ import annotations

from typing import Final

from penstock.executors.procfs import Holdings

#: Jobs after which a child is looked at again. A hundred starts of an interpreter cost more than a
#: hundred small jobs, so that a child is replaced for what it holds, not for its number of jobs.
LOOK_JOBS: Final = 100
#: Bytes of memory above those at its start past which a child is replaced: well above what caches
#: of an interpreter take, and little beside what the machine has.
_GROWTH_BYTES_MAX: Final = 64 * 2**20
#: Open files above those at its start, likewise: an eighth of the usual limit of 1,024.
_GROWTH_DESCRIPTORS_MAX: Final = 128


def has_piled_up(at_start: Holdings | None, now: Holdings | None) -> bool:
    """Return whether a child holds much more than it did; True if that cannot be known."""
    if at_start is None or now is None:
        return True
    return (
        now.resident_bytes - at_start.resident_bytes > _GROWTH_BYTES_MAX
        or now.descriptors - at_start.descriptors > _GROWTH_DESCRIPTORS_MAX
    )
