"""Restarting runners when the app's source changes. For development.

Files are watched, not imports: the supervisor does not know what the app imports, and must not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from penstock.worker.pulse import first_of

from .child_pool import ChildPool
from .crew import Crew
from .parts import Parts
from .runner_process import End, RunnerProcess
from .runners import Runners

_log = logging.getLogger("penstock.worker")

#: Seconds between two looks at the files.
_LOOK_S: Final = 0.5
#: Files looked at; a folder with more is no project but a disk.
_FILES_MAX: Final = 20_000
#: Folders that hold no source of the app.
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

Stamps = dict[str, tuple[int, int]]


class Reload:
    """Replaces runners and children after a change, one runner after the other."""

    def __init__(
        self,
        parts: Parts,
        runners: Runners,
        pool: ChildPool,
        folder: Path,
        crew: Crew,
    ) -> None:
        """Watch the Python files under `folder`."""
        self._stopping = parts.stopping
        self._grace_ms = parts.settings.drain_grace_ms
        self._runners = runners
        self._pool = pool
        self._folder = folder
        self._crew = crew

    async def run(self) -> None:
        """Look for changes for ever; act once the files have been left alone for one look."""
        settled = seen = await asyncio.to_thread(stamps, self._folder)
        while True:
            await asyncio.sleep(_LOOK_S)
            now = await asyncio.to_thread(stamps, self._folder)
            if now == seen != settled:
                changed = sorted({name for name, _ in settled.items() ^ now.items()})
                _log.info("%s changed: restarting the runners", ", ".join(changed[:3]))
                settled = now
                await self._replace_all()
            seen = now

    async def _replace_all(self) -> None:
        """Start a new runner for each old one; the old one drains only once the new one can work.

        A new one that cannot import the app leaves the old one at work until the next change.
        """
        for old in [runner for runner in self._runners.all if runner.is_serving]:
            if self._stopping.drain.is_set():
                return
            new = await self._runners.start()
            imported = new is not None and await _has_imported(new)
            if self._stopping.drain.is_set():
                return
            if not imported:
                _log.error("the changed app cannot be imported: the old code goes on")
                return
            retiring = self._runners.retire(old, self._grace_ms, End.STOPPED)
            self._crew.send(f"retiring runner {old.pid}", retiring)
        self._pool.renew()


async def _has_imported(runner: RunnerProcess) -> bool:
    await first_of(runner.hello, runner.process.exited)
    return (
        runner.hello.done() and not runner.hello.cancelled() and runner.hello.result().error is None
    )


def stamps(folder: Path) -> Stamps:
    """Return (time of change, size) of each Python file under `folder`, by its path from there.

    Hidden folders, environments and the like are left out. Cost: one stat per file.
    """
    found: Stamps = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        for name in files:
            if name.endswith(".py") and len(found) < _FILES_MAX:
                path = Path(place, name)
                try:
                    stat = path.stat()
                except OSError:
                    continue
                found[str(path.relative_to(folder))] = (stat.st_mtime_ns, stat.st_size)
    return found
