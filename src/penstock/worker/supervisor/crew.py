"""The tasks of a supervisor: loops that are kept going, and errands that end.

A failure that nobody foresaw is told in the log with its traceback and does not spread: the
extension of leases must not die of a mistake in housekeeping.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from penstock.worker.pulse import retry_wait_s

_log = logging.getLogger("penstock.worker")

Run = Callable[[], Coroutine[Any, Any, None]]


class Crew:
    """Tasks of one `asyncio.TaskGroup`.

    Attributes:
        failures: failures that nobody foresaw, since the start.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        """Work in `group`."""
        self._group = group
        self._tasks: dict[asyncio.Task[None], None] = {}
        self.failures = 0

    def keep(self, name: str, run: Run) -> None:
        """Run a loop; start it again after a failure. One that returns has done its duty."""
        self._add(name, self._loop(name, run))

    def send(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Run something once."""
        self._add(name, self._errand(name, errand))

    def dismiss(self) -> None:
        """Cancel everything, so that the group can end."""
        for task in list(self._tasks):
            task.cancel()

    def _add(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _loop(self, name: str, run: Run) -> None:
        failures = 0
        while True:
            try:
                await run()
            except Exception:  # noqa: BLE001 - that is this loop's duty
                failures += 1
                self._note(name)
                await asyncio.sleep(retry_wait_s(failures))
            else:
                return

    async def _errand(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        try:
            await errand
        except Exception:  # noqa: BLE001 - that is this method's duty
            self._note(name)

    def _note(self, name: str) -> None:
        self.failures += 1
        _log.exception("%s failed: this is a defect of Penstock, please report it", name)
