"""When a child is replaced: by its jobs, its age, and what it has piled up."""

from __future__ import annotations

import asyncio

from penstock.executors.procfs import read_holdings

from .child_process import ChildProcess
from .leftovers import LOOK_JOBS, has_piled_up
from .parts import Parts


def is_used_up(child: ChildProcess, parts: Parts) -> bool:
    """Return whether a child is replaced after its job; cost: some 100 us where it is measured.

    What it has grown by since its last job is learned of that one's task.
    """
    if child.jobs >= parts.settings.child_jobs_max:
        return True
    wear = child.wear
    age_s = asyncio.get_running_loop().time() - wear.made_at_s
    # One that has run nothing is kept, however young children are to go.
    if child.jobs and age_s * 1000 >= parts.settings.child_age_max_ms:
        return True
    # What a job has declared may be large, and what is left of it is nobody's reservation.
    if child.jobs % LOOK_JOBS and wear.reserved_bytes is None:
        return False
    now = read_holdings(child.pid)
    is_over = has_piled_up(wear.at_start, now) or wear.has_leaked(now)
    if is_over and now is not None:
        grown = wear.ends(now.resident_bytes)
        if grown is not None:
            parts.profiles.grew(*grown, parts.link.clock.wall_ms())
    return is_over
