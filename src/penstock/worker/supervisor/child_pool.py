"""Warm children: made when needed, used again, replaced, and ended when idle for long."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from typing import Final

from penstock.core.job import StoredError
from penstock.core.wording import counted
from penstock.worker.pulse import Bell, backoff_ms
from penstock.worker.wire import Prepare

from .child_end import ChildFailed
from .child_folder import ChildFolder
from .child_kinds import PLAIN, ChildKind, ChildKinds
from .child_process import ChildProcess
from .crew import Crew
from .environment import child_environment
from .parts import Parts
from .slow_start import told_if_slow
from .used_up import is_used_up

_log = logging.getLogger("penstock.worker")

#: Seconds that an idle child is kept: its start costs a second of imports, its memory tens of MiB.
_IDLE_S: Final = 60.0
#: Seconds after which an idle child is ended for the job of another worker, and between two looks
#: whether one asks: what waits that long while its child is idle this worker does not take itself.
_SPARED_S: Final = 1.0
#: Seconds that an idle child's stop hooks may take.
_RETIRE_S: Final = 5.0

OnBorn = Callable[[ChildProcess], None]
"""Told of a child that is being made."""


def ignore_born(_child: ChildProcess) -> None:
    """Nobody waits for this one."""


class ChildPool:
    """The children of a worker, busy and idle.

    Attributes:
        all: every child that is not buried.
        kinds: what each child was made for.
        is_plain_wanted: tells whether jobs wait that any child may run.
        tags: queue tags known so far, told to new children.
    """

    def __init__(self, parts: Parts, crew: Crew, bell: Bell) -> None:
        """Start with no child; `bell` is rung when one is ready."""
        self._parts = parts
        self._crew = crew
        self._bell = bell
        self._idle: list[tuple[ChildProcess, float]] = []
        self._leaving: dict[ChildProcess, asyncio.Event] = {}
        self._making = 0
        self._failures = 0
        self._not_before_s = 0.0
        self._outdated: set[ChildProcess] = set()
        self._folders: dict[ChildProcess, ChildFolder] = {}
        self._owned = parts.identity.owned_name(os.getpid())
        self.all: list[ChildProcess] = []
        self.kinds: ChildKinds[ChildProcess] = ChildKinds()
        self.is_plain_wanted: Callable[[], bool] = lambda: True
        self.tags: dict[str, int] = {}

    def pick(self, kind: ChildKind, task: str) -> ChildProcess | None:
        """Take the child that suits a job of a task and was idle for the shortest time; None: none.

        Others stay. Those that have died meanwhile are buried.
        """
        for place in reversed(range(len(self._idle))):
            child, _ = self._idle[place]
            if not child.is_usable:
                del self._idle[place]
                self._crew.send(f"burying child {child.pid}", self.bury(child))
            elif self.kinds.suits(child, kind, task):
                del self._idle[place]
                self._parts.budget.gpus.release(child)
                return child
        return None

    def warm_devices(self, task: str) -> frozenset[str]:
        """Return the GPUs on which an idle child holds what a task has loaded."""
        return self.kinds.warm(task, (child for child, _ in self._idle))

    def prepare(self, count: int) -> None:
        """See to it that `count` children are ready, or will be soon; the bell tells when.

        After a failure nothing is made for a while, twice as long after each further one.
        """
        if not self.may_make or not self.is_plain_wanted():
            return
        while len(self._idle) + self._making < count:
            self._making += 1
            self._crew.send("making a child", self._make_idle())

    def put_back(self, child: ChildProcess) -> None:
        """Keep a child for the next job, or end it: one that is old, has grown, or is outdated."""
        kind = self.kinds.of(child)
        self._parts.budget.gpus.keep(child, kind.devices, kind.share_bytes)
        is_old = child in self._outdated or self._is_used_up(child)
        self._outdated.discard(child)
        if not child.is_usable:
            self._crew.send(f"burying child {child.pid}", self.bury(child))
        elif is_old or self._parts.stopping.drain.is_set():
            self.retire(child)
        else:
            self._idle.append((child, asyncio.get_running_loop().time()))
            if len(self._idle) > 2 * self._parts.slots.total:
                # Bound: children of every kind would pile up beside those that are in use.
                self.retire(self._idle.pop(0)[0])

    def _is_used_up(self, child: ChildProcess) -> bool:
        return is_used_up(child, self._parts)

    async def clear(self, child: ChildProcess, *, who: str) -> None:
        """End what `who`, a job, has left running in a child, and put the child back or replace it.

        What ends by itself within a moment costs no child. One that lost a program to this is not
        used again: what it knows of the program the next job would stumble over.
        """
        left = await child.family.outlasting(child.group)
        if not left:
            self.put_back(child)
            return
        told = counted(len(left), "process", "processes")
        _log.info("%s left %s running: ended, and child %d is replaced", who, told, child.pid)
        if await child.family.kill_left(child.group):
            # Until it is gone it has what its job had of GPUs.
            kind = self.kinds.of(child)
            self._parts.budget.gpus.keep(child, kind.devices, kind.share_bytes)
            self.retire(child)
        else:
            await self.bury(child)

    def retire(self, child: ChildProcess) -> None:
        """End an idle child in the background."""
        self._leaving[child] = asyncio.Event()
        self._crew.send(f"retiring child {child.pid}", self._retire(child))

    def retire_idle(
        self, *, older_than_s: float = 0.0, devices: Collection[str] | None = None
    ) -> None:
        """End children that have been idle for long; 0: all that are idle.

        Args:
            older_than_s: for how long at least.
            devices: only those that see one of these GPUs; None: any.
        """
        now_s = asyncio.get_running_loop().time()
        kept = []
        for child, since_s in self._idle:
            is_there = devices is None or not self.kinds.of(child).sees_none_of(devices)
            if is_there and now_s - since_s >= older_than_s:
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
            await asyncio.sleep(_SPARED_S)
            self.retire_idle(older_than_s=_IDLE_S)
            asked = self._parts.budget.gpus.asked()
            self.retire_idle(older_than_s=_SPARED_S, devices=asked)

    async def destroy(self) -> None:
        """Kill every child and what it started."""
        await asyncio.gather(*(self.bury(child) for child in list(self.all)))

    @property
    def idle(self) -> int:
        """Children waiting for a job."""
        return len(self._idle)

    async def _make_idle(self) -> None:
        try:
            self.put_back(await self.make())
            self.worked()
        except ChildFailed as failure:
            self.failed(failure)
        finally:
            self._making -= 1
            self._bell.ring()

    @property
    def may_make(self) -> bool:
        """Whether the last failure to make a child is long enough ago to try again."""
        return asyncio.get_running_loop().time() >= self._not_before_s

    def worked(self) -> None:
        """Note that a child could be made."""
        self._failures = 0

    def failed(self, failure: ChildFailed) -> None:
        """Note that a child could not be made; the bell is rung when it may be tried again."""
        self._failures += 1
        wait_ms = backoff_ms(self._failures)
        self._not_before_s = asyncio.get_running_loop().time() + wait_ms / 1000
        asyncio.get_running_loop().call_later(wait_ms / 1000, self._bell.ring)
        told = failure.error
        text = f"{told.message}\n{told.traceback}" if told.traceback else told.message
        _log.error("no child can be made, again in %.1f s: %s", wait_ms / 1000, text)

    async def make(self, kind: ChildKind = PLAIN, on_born: OnBorn = ignore_born) -> ChildProcess:
        """Start a child, with a folder for its temporary files, and let it import the app.

        Idle children on its GPUs are ended before, and those that are leaving: what they have
        loaded is in the way.

        Args:
            kind: of the child.
            on_born: told the child before it is ready; who ends it then gives it up.

        Raises:
            ChildFailed: it could not be made; it is gone again.
        """
        await self._clear(kind.devices)
        env, mark = child_environment(self._parts.environ, self._parts.settings, self._owned, kind)
        folder: ChildFolder | None = None
        try:
            folder = ChildFolder(env)
            child = await ChildProcess.spawn(
                self._parts.spawner, self._parts.plan.app, folder.named_in(env), mark
            )
        except OSError as error:
            if folder is not None:
                await folder.remove()
            raise ChildFailed(
                StoredError("crashed", f"no child could be started: {error}")
            ) from error
        self._folders[child] = folder
        self.all.append(child)
        self.kinds.made(child, kind)
        order = Prepare(
            worker=self._parts.identity.worker,
            result_bytes_max=self._parts.settings.result_bytes_max,
            queue_tags=self.tags,
        )
        try:
            child.group = await self._parts.groups.make(child.pid)
            on_born(child)
            max_ms = self._parts.settings.child_start_max_ms
            with told_if_slow(child.pid, max_ms):
                await child.prepare(order, max_ms=max_ms)
        except BaseException:
            await self.bury(child)
            raise
        _log.debug("child %d is ready", child.pid)
        return child

    async def _clear(self, devices: Collection[str]) -> None:
        gone = self.kinds.on(devices, [child for child, _ in self._idle])
        self._idle = [one for one in self._idle if one[0] not in gone]
        leaving = self.kinds.on(devices, self._leaving)
        for child in leaving:
            child.process.kill()
        left = [self._leaving[child].wait() for child in leaving]
        await asyncio.gather(*left, *(self.bury(child) for child in gone))

    async def _retire(self, child: ChildProcess) -> None:
        try:
            await child.retire(int(_RETIRE_S * 1000))
            await self._forget(child)
        finally:
            self._leaving.pop(child).set()

    async def bury(self, child: ChildProcess) -> None:
        """Kill a child and what it started, and forget it."""
        await child.destroy()
        await self._forget(child)

    async def _forget(self, child: ChildProcess) -> None:
        if child in self.all:
            self.all.remove(child)
        self.kinds.forget(child)
        self._parts.budget.gpus.release(child)
        folder = self._folders.pop(child, None)
        if folder is not None:
            await folder.remove()
        if child.group is not None:
            await self._parts.groups.drop(child.group)
