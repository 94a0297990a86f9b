"""Whether the machine stands still for want of memory: then no further child gets a job."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from penstock.executors.pressure import pressure_files, stalled_percent

_log = logging.getLogger("penstock.worker")

#: Seconds between two looks; the kernel's average moves over ten.
_LOOK_S: Final = 1.0
#: Part of the limit below which the pressure is over, so that it does not come and go.
_OVER_PART: Final = 0.5


class Pressure:
    """Watches how much the machine stalls.

    Attributes:
        is_high: no job may be started that takes memory.
    """

    def __init__(self, limit_percent: float, files: tuple[Path, ...] | None = None) -> None:
        """Watch for `limit_percent` of time at a standstill; 0: for nothing."""
        self._limit = limit_percent
        self._files = pressure_files() if files is None else files
        self.is_high = False

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Look once."""
        if not self._limit:
            return
        stalled = stalled_percent(self._files)
        if not self.is_high and stalled >= self._limit:
            self.is_high = True
            _log.warning(
                "memory is short: all stood still for %.0f %% of the last 10 s; jobs in children "
                "wait until that is over",
                stalled,
            )
        elif self.is_high and stalled < self._limit * _OVER_PART:
            self.is_high = False
            _log.info("memory is not short any more")
