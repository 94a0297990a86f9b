"""Killing a process with everything it started, also what left its group and its parents."""

from __future__ import annotations

import asyncio
import os
import signal

from .process import Process
from .procfs import ProcStat, all_stats, family, signal_all

#: Looks at the process table; each finds what was forked during the one before. Two do for
#: anything but a fork bomb, and against that the first round that kills faster than it forks wins.
_ROUNDS_MAX = 50
#: Seconds between two looks: a killed process is gone within this, unless the kernel holds it.
_ROUND_S = 0.01


def living_family(process: Process, mark: str) -> list[ProcStat]:
    """Return what `process` started and is still alive. Cost: one look at the process table."""
    stats = all_stats()
    found = family(stats, root=process.pid, mark=mark, adopter=os.getpid())
    return [stats[pid] for pid in sorted(found)]


async def kill_family(process: Process, mark: str) -> int:
    """Kill `process`, its group, and all that descends from it; return how many were left over.

    Not done: what runs as another user and cannot be signalled, and what the kernel holds.

    Args:
        process: not buried yet.
        mark: `NAME=value` that its environment, and so that of its descendants, carries.

    Cost: a look at the process table, two if anything was found.
    """
    left: list[ProcStat] = []
    for _ in range(_ROUNDS_MAX):
        # Descent is read before the first kill: afterwards the members have other parents.
        left = living_family(process, mark)
        process.kill()
        if not left and process.exited.done():
            break
        signal_all(left, signal.SIGKILL)
        await asyncio.sleep(_ROUND_S)
    await process.exited
    return len(left)
