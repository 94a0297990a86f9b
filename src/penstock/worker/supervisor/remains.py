"""What a worker that was killed has left on its host: programs of its jobs, groups, and files.

A child dies with its supervisor, and what it started does not. All of it carries whose it was:
groups in their names, processes in their environment. The next worker here
clears it away before it takes the dead one's jobs over, so that no attempt runs beside the rest of
the one before.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Final

from penstock.broker.requests import Owner
from penstock.core.wording import counted
from penstock.executors.procfs import ProcStat, all_stats, environment_value, signal_all

from .child_folder import sweep_folders
from .groups import Groups, sweep
from .identity import Identity, owner_named

_log = logging.getLogger("penstock.worker")

#: Variable that only one child and what it started carry, so that its orphans are found.
MARK_ENV: Final = "PENSTOCK_CHILD_MARK"
#: Looks until killed processes are gone, and seconds between two.
_LOOKS: Final = 50
_LOOK_S: Final = 0.02


class Remains:
    """Finds and clears away what dead workers of this host have left."""

    def __init__(self, identity: Identity, groups: Groups) -> None:
        """Clear nothing yet."""
        self._identity = identity
        self._groups = groups

    async def clear(self) -> None:
        """Kill and remove what is left; in a thread, for it reads every process. Never raises."""
        try:
            await asyncio.to_thread(self._clear)
        except Exception:  # noqa: BLE001 - taking over the jobs of the dead must not fail of it
            _log.exception("what a dead worker has left could not be cleared away")

    async def clear_all(self, environ: Mapping[str, str]) -> None:
        """Do the same, and remove temporary files of children, which no job waits for.

        Args:
            environ: of this worker: a TMPDIR there says where they are.
        """
        await self.clear()
        # Behind the processes, which may have written there.
        removed = await asyncio.to_thread(sweep_folders, environ)
        if removed:
            told = counted(removed, "folder", "folders")
            _log.info("%s of temporary files of dead workers removed", told)

    def _clear(self) -> None:
        left = list(self._processes())
        if left:
            told = counted(len(left), "process of jobs", "processes of jobs")
            _log.warning("%s is left of a dead worker, and killed", told)
        for _ in range(_LOOKS):
            signal_all(left, signal.SIGKILL)
            is_clean = self._groups.place is None or sweep(self._groups.place, self._identity)
            left = list(self._processes())
            if is_clean and not left:
                break
            time.sleep(_LOOK_S)

    def _processes(self) -> Iterator[ProcStat]:
        for stat in all_stats().values():
            mark = environment_value(stat.pid, MARK_ENV) if stat.state not in "ZX" else None
            if mark is not None and self._is_of_the_dead(mark):
                yield stat

    def _is_of_the_dead(self, name: str) -> bool:
        owner: Owner | None = owner_named(name, self._identity.host)
        return owner is not None and self._identity.is_dead(owner)
