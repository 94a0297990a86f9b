"""What one process and its jobs have started: found cheaply after each job, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

from .kill import kill_family, living_family
from .memory_group import MemoryGroup
from .process import Process
from .procfs import ProcStat, all_stats, carries, children_of, descending, read_stat, signal_all

#: Seconds between two looks at what is about to end.
_LOOK_S: Final = 0.01
#: Looks, a tenth of a second, that a program is given which was told to end, or has just said its
#: last: it would be a pity to replace a child for it.
_MOMENT_LOOKS: Final = 10
#: Looks, half a second, in which what is killed is gone, unless the kernel holds it.
_KILL_LOOKS: Final = 50


class Family:
    """The processes that one has started, whatever session, group or parent they have by now.

    What is there before the first job, as start hooks leave it, belongs to the process for all its
    life, and so does what descends from that. Anything else belongs to the job that runs.

    All methods take the control group of the process, None where it has none: what shook off every
    other trace is in there still.
    """

    def __init__(self, process: Process, mark: str, knows: Callable[[int], bool]) -> None:
        """Know of nothing yet.

        Args:
            process: whose family it is; not buried yet.
            mark: `NAME=value` that its environment, and so that of its descendants, carries.
            knows: tells what this process has started itself from orphans that it inherited.
        """
        self._process = process
        self._mark = mark
        self._knows = knows
        self._own: dict[int, int] = {}

    def keep(self, group: MemoryGroup | None) -> None:
        """Take what lives now for the process's own. Cost: as `left_behind`."""
        self._own = {}
        self._own = {one.pid: one.started_ticks for one in self.left_behind(group)}

    def left_behind(self, group: MemoryGroup | None) -> list[ProcStat]:
        """Return the living processes that jobs have started.

        Cost: some 10 us where there is none; else a look at the process table.
        """
        try:
            return self._look(group)
        except OSError:
            # No descriptor is left to look with: the end of the next job looks again.
            return []

    async def outlasting(self, group: MemoryGroup | None) -> list[ProcStat]:
        """Return what jobs have started and does not end by itself within a moment."""
        left = self.left_behind(group)
        for _ in range(_MOMENT_LOOKS):
            if not left:
                break
            await asyncio.sleep(_LOOK_S)
            left = self.left_behind(group)
        return left

    async def kill_left(self, group: MemoryGroup | None) -> bool:
        """Kill what jobs have started, and nothing else; return whether all of it is gone."""
        for _ in range(_KILL_LOOKS):
            left = self.left_behind(group)
            if not left:
                return True
            signal_all(left, signal.SIGKILL)
            await asyncio.sleep(_LOOK_S)
        return not self.left_behind(group)

    def living(self, group: MemoryGroup | None) -> list[ProcStat]:
        """Return all that lives of it. Cost: a look at the process table."""
        return living_family(self._process, self._mark, group)

    async def kill(self, group: MemoryGroup | None) -> int:
        """Kill the process and all of it; return how many were left over (`kill_family`)."""
        return await kill_family(self._process, self._mark, group)

    def _look(self, group: MemoryGroup | None) -> list[ProcStat]:
        if not any(map(self._may_live, self._suspects(group))):
            return []
        stats = all_stats()
        still = (stats[pid] for pid in self._own if pid in stats)
        own = [one.pid for one in still if one.started_ticks == self._own[one.pid]]
        kept = descending(stats.values(), own)
        return [one for one in self.living(group) if one.pid not in kept]

    def _suspects(self, group: MemoryGroup | None) -> list[int]:
        """Return what jobs may have started, by the cheapest look that misses none of it."""
        pid = self._process.pid
        if group is not None:
            found = group.pids()
        else:
            adopted = (one for one in children_of(os.getpid()) if not self._knows(one))
            found = children_of(pid)
            found += [one for one in adopted if carries(one, self._mark)]
        return [one for one in found if one != pid and one not in self._own]

    @staticmethod
    def _may_live(pid: int) -> bool:
        stat = read_stat(pid)
        return stat is not None and stat.is_alive
