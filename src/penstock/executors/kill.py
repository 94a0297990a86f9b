"""Killing a process with everything it started, also what left its group and its parents."""

from __future__ import annotations

import asyncio
import os
import signal

from .memory_group import MemoryGroup
from .process import Process
from .procfs import ProcStat, all_stats, family, signal_all

#: Looks at the process table; each finds what was forked during the one before. Two do for
#: anything but a fork bomb, and against that the first round that kills faster than it forks wins.
_ROUNDS_MAX = 50
#: Seconds between two looks: a killed process is gone within this, unless the kernel holds it.
_ROUND_S = 0.01


def living_family(process: Process, mark: str, group: MemoryGroup | None = None) -> list[ProcStat]:
    """Return what `process` started and is still alive. Cost: one look at the process table.

    Args:
        process: whose family it is.
        mark: `NAME=value` that its environment, and so that of its descendants, carries.
        group: its control group; what shook off every other trace is in there still.
    """
    stats = all_stats()
    found = family(stats, root=process.pid, mark=mark, adopter=os.getpid())
    members = () if group is None else group.members()
    living = {pid: stats[pid] for pid in found} | {one.pid: one for one in members}
    living.pop(process.pid, None)
    return [living[pid] for pid in sorted(living)]


async def kill_family(process: Process, mark: str, group: MemoryGroup | None = None) -> int:
    """Kill `process`, its group, and all that descends from it; return how many were left over.

    Not done: what runs as another user and cannot be signalled, what the kernel holds, and what is
    not in the group while no descriptor is to be had for a look.

    Args:
        process: not buried yet.
        mark: as for `living_family`.
        group: as for `living_family`.

    Cost: a look at the process table, two if anything was found.
    """
    left: list[ProcStat] = []
    for _ in range(_ROUNDS_MAX):
        # Descent is read before the first kill: afterwards the members have other parents.
        try:
            left, is_seen = living_family(process, mark, group), True
        except OSError:
            # No descriptor is left to look with. A kill needs none, and may free some.
            is_seen = False
        process.kill()
        if is_seen and not left and process.exited.done():
            break
        signal_all(left, signal.SIGKILL)
        await asyncio.sleep(_ROUND_S)
    await process.wait()
    return len(left)
