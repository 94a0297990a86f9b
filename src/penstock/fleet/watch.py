"""`restart_above`: a worker that has grown is drained and started again, never killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from .family import family_bytes
from .member import Member

#: Seconds between two looks: workers grow in minutes, and a look costs a few reads a process.
LOOK_S: Final = 5.0
#: Looks in a row above the bound: one job that takes much for a moment is no leak.
LOOKS_ABOVE: Final = 3
_MIB: Final = 2**20


class GrowthWatch:
    """Looks at the memory of workers and has those restarted that stay above their bound."""

    def __init__(self, members: Callable[[], Iterable[Member]], look_s: float = LOOK_S) -> None:
        """Watch whoever `members` returns at the time, every `look_s` seconds."""
        self._members = members
        self._look_s = look_s
        self._above: dict[int, int] = {}

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            await asyncio.sleep(self._look_s)
            self.look()

    def look(self) -> None:
        """Look at each worker once."""
        above: dict[int, int] = {}
        for member in self._members():
            bound, process = member.role.table.restart_above_bytes, member.process
            if not bound or process is None:
                continue
            found = family_bytes(process.pid)
            if found <= bound:
                continue
            above[process.pid] = self._above.get(process.pid, 0) + 1
            if above[process.pid] >= LOOKS_ABOVE:
                member.restart(
                    f"its processes hold {found // _MIB} MiB together, more than {bound // _MIB} "
                    "MiB (restart_above)"
                )
        # Those that ended, or are below again, begin anew.
        self._above = above
