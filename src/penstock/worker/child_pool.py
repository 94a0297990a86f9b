"""Warm children: made when needed, used again, replaced by count, ended when idle for long."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from penstock.core.job import StoredError

from .child_process import ChildFailed, ChildProcess
from .crew import Crew
from .environment import child_environment
from .parts import Parts
from .wire import Prepare

_log = logging.getLogger("penstock.worker")

#: Seconds that an idle child is kept: its start costs a second of imports, its memory tens of MiB.
_IDLE_S: Final = 60.0
#: Seconds that an idle child's stop hooks may take.
_RETIRE_S: Final = 5.0


class ChildPool:
    """The children of a worker, busy and idle.

    Attributes:
        all: every child that is not buried.
        tags: queue tags known so far, told to new children.
        started: children since the start.
    """

    def __init__(self, parts: Parts, crew: Crew) -> None:
        """Start with no child."""
        self._parts = parts
        self._crew = crew
        self._idle: list[tuple[ChildProcess, float]] = []
        self._outdated: set[ChildProcess] = set()
        self.all: list[ChildProcess] = []
        self.tags: dict[str, int] = {}
        self.started = 0

    async def take(self) -> ChildProcess:
        """Return a child that is ready for a job: the one idle for the shortest time, or a new one.

        Raises:
            ChildFailed: a new one could not be made; it is gone again.
        """
        while self._idle:
            child, _ = self._idle.pop()
            if child.is_usable:
                return child
            await self._bury(child)
        return await self._make()

    async def is_able(self) -> bool:
        """Make sure that there is an idle child; False: none can be made, and the log says why."""
        try:
            await self.put_back(await self.take())
        except ChildFailed as failure:
            _log.error("no child can be made: %s", failure.error.message)
            return False
        return True

    async def put_back(self, child: ChildProcess) -> None:
        """Keep a child for the next job, or end it: after many jobs, or after a reload."""
        is_old = child.jobs >= self._parts.settings.child_jobs_max or child in self._outdated
        self._outdated.discard(child)
        if not child.is_usable:
            await self._bury(child)
        elif is_old or self._parts.stopping.drain.is_set():
            self.retire(child)
        else:
            self._idle.append((child, asyncio.get_running_loop().time()))

    def retire(self, child: ChildProcess) -> None:
        """End an idle child in the background."""
        self._crew.send(f"retiring child {child.pid}", self._retire(child))

    def retire_idle(self, *, older_than_s: float = 0.0) -> None:
        """End children that have been idle for long; 0: all that are idle."""
        now_s = asyncio.get_running_loop().time()
        kept = []
        for child, since_s in self._idle:
            if now_s - since_s >= older_than_s:
                self.retire(child)
            else:
                kept.append((child, since_s))
        self._idle = kept

    def renew(self) -> None:
        """Replace every child: idle ones now, busy ones after their job."""
        self.retire_idle()
        self._outdated.update(self.all)

    async def run(self) -> None:
        """End children that were idle for too long, for ever."""
        while True:
            await asyncio.sleep(_IDLE_S / 4)
            self.retire_idle(older_than_s=_IDLE_S)

    async def destroy(self) -> None:
        """Kill every child and what it started."""
        await asyncio.gather(*(self._bury(child) for child in list(self.all)))

    @property
    def idle(self) -> int:
        """Children waiting for a job."""
        return len(self._idle)

    async def _make(self) -> ChildProcess:
        env, mark = child_environment(self._parts.environ, self._parts.settings)
        try:
            child = await ChildProcess.spawn(self._parts.spawner, self._parts.plan.app, env, mark)
        except OSError as error:
            raise ChildFailed(
                StoredError("crashed", f"no child could be started: {error}")
            ) from error
        self.all.append(child)
        self.started += 1
        order = Prepare(
            worker=self._parts.identity.worker,
            result_bytes_max=self._parts.settings.result_bytes_max,
            queue_tags=self.tags,
        )
        try:
            await child.prepare(order)
        except BaseException:
            await self._bury(child)
            raise
        _log.debug("child %d is ready", child.pid)
        return child

    async def _retire(self, child: ChildProcess) -> None:
        await child.retire(int(_RETIRE_S * 1000))
        if child in self.all:
            self.all.remove(child)

    async def _bury(self, child: ChildProcess) -> None:
        await child.destroy()
        if child in self.all:
            self.all.remove(child)
