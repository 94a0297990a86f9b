"""`restart_above`: a worker that has grown drains and begins anew, and is never killed for it."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from penstock.executors.family_memory import family_bytes

from .stopping import Stopping

#: Seconds between two looks: workers grow in minutes, and a look costs a few reads a process.
LOOK_S: Final = 5.0
#: Looks in a row above the bound: one job that takes much for a moment is no leak.
LOOKS_ABOVE: Final = 3
_MIB: Final = 2**20


class Growth:
    """Looks at what the processes of this worker hold together, and asks for a new beginning.

    A worker that is quiet is left alone: one that begins anew would take jobs again.
    """

    def __init__(self, stopping: Stopping, above_bytes: int, look_s: float = LOOK_S) -> None:
        """Look every `look_s` seconds; `above_bytes` is the bound."""
        self._stopping = stopping
        self._above_bytes = above_bytes
        self._look_s = look_s

    async def run(self) -> None:
        """Return once the worker was asked to begin anew, or ends."""
        looks = 0
        while not self._stopping.drain.is_set():
            await asyncio.sleep(self._look_s)
            found = family_bytes(os.getpid())
            is_above = found > self._above_bytes and not self._stopping.is_shut
            looks = looks + 1 if is_above else 0
            if looks >= LOOKS_ABOVE:
                self._stopping.begin_anew(
                    f"the worker's processes hold {found // _MIB} MiB together, more than "
                    f"{self._above_bytes // _MIB} MiB (restart_above)"
                )
