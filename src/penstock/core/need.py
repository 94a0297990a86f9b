"""Needs: the names of the ready sets in which queued jobs wait.

A queue's ready index is a few ordered sets, one per need, so that a worker names the sets it can
take and a claim costs the same at any backlog. Light work needs `shared`, any runner's coroutine
slot, or `thread`, any runner's thread slot. Work that is isolated or declares memory needs `alone`,
or `alone.m<class>` with a size class in steps of 1.25 above 16 MiB. A retry may enter another set
than the one its spec names.
"""

from __future__ import annotations

import math
from typing import Final

from penstock.core.job import ALONE, SHARED, THREAD, Charges, JobSpec

#: Size class 0 ends here; below it a child process costs more than the job.
_CLASS_BASE_BYTES: Final = 16 * 2**20
#: Ratio of neighbouring classes (design.md §5): at most 25 % is reserved in vain.
_CLASS_STEP: Final = 1.25


def memory_class(reservation_bytes: int) -> int:
    """Return the smallest class whose upper bound holds `reservation_bytes`."""
    if reservation_bytes <= _CLASS_BASE_BYTES:
        return 0
    ratio = reservation_bytes / _CLASS_BASE_BYTES
    # Bound: the tiny slack keeps exact powers in their own class in spite of rounding.
    return math.ceil(math.log(ratio, _CLASS_STEP) - 1e-9)


def need_name(*, isolated: bool, memory_bytes: int | None, is_async: bool = True) -> str:
    """Return the ready set for a job: `shared`, `thread`, `alone` or `alone.m<class>`."""
    if memory_bytes is not None:
        return f"{ALONE}.m{memory_class(memory_bytes)}"
    if isolated:
        return ALONE
    return SHARED if is_async else THREAD


def is_alone(need: str) -> bool:
    """Return whether jobs of this need run in a child process of their own."""
    return need.startswith(ALONE)


def runs_alone(spec: JobSpec, charges: Charges) -> bool:
    """Return whether the job's attempt runs alone in a child."""
    return charges.suspect or is_alone(spec.need)
