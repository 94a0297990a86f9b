"""The control groups of a worker: one for each child, made with it and removed with it.

Their names say whose they are: boot, pid namespace, pid and start time of the supervisor. A worker
removes what dead ones have left beside its own groups, and touches no others.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from pathlib import Path
from typing import Final

from penstock.broker.requests import Owner
from penstock.executors.cgroups import NoGroups, Place, find_place, make_way
from penstock.executors.memory_group import MemoryGroup, members, remove_group
from penstock.executors.procfs import signal_all

from .identity import Identity

_log = logging.getLogger("penstock.worker")

#: Begins the name of every group that is made here.
_PREFIX: Final = "penstock"
#: Parts of a name: prefix, boot, pid namespace, pid, start time, and what it is for.
_PARTS: Final = 6
#: For the worker itself, with version 2.
_WORKER: Final = "worker"
#: Looks at a group whose last processes were killed, and seconds between two: the kernel takes some
#: milliseconds to end a process that held much.
_REMOVALS: Final = 100
_REMOVAL_S: Final = 0.02


class Groups:
    """Makes groups for children.

    Args:
        place: below which they are made; None: nowhere, children are only watched.
        stem: begins their names.
        told: how limits are kept, for the log; empty: nobody has asked for groups.

    Attributes:
        told: see above. A worker says it once it serves: one that cannot begin says only why.
    """

    def __init__(self, place: Place | None = None, stem: str = "", told: str = "") -> None:
        self.told = told
        self._place = place
        self._stem = stem
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls, boot_id: str) -> Groups:
        """Find out where groups can be made, and remove what dead workers have left there.

        With version 2 this process moves into a group of its own: call it before anything is
        started that is to move with it.
        """
        identity = Identity.of_this_process(boot_id)
        stem = _stem(identity.owner(os.getpid()))
        try:
            place = find_place()
            sweep(place, identity)
            make_way(place, f"{stem}.{_WORKER}")
        except NoGroups as why:
            return cls(told=f"memory limits are watched, and not enforced by the kernel: {why}")
        told = f"memory limits are enforced by control groups below {place.folder}"
        return cls(place, stem, told)

    async def make(self, pid: int) -> MemoryGroup | None:
        """Make a group for a child that was just started; None: it is only watched."""
        if self._place is None:
            return None
        group: MemoryGroup | None = None
        try:
            group = MemoryGroup(self._place, f"{self._stem}.{next(self._numbers)}")
            # The kernel waits for all CPUs meanwhile, and the loop must not.
            await asyncio.to_thread(group.take_in, pid)
        except OSError as error:
            _log.warning("no memory group for child %d, it is only watched: %s", pid, error)
            if group is not None:
                group.remove()
            return None
        return group

    async def drop(self, group: MemoryGroup) -> None:
        """Remove the group of a child that is buried; what cannot be removed stays for a sweep."""
        for _ in range(_REMOVALS):
            if group.remove():
                return
            await asyncio.sleep(_REMOVAL_S)
        _log.warning("group %s cannot be removed: there are processes in it", group.folder)


def _stem(owner: Owner) -> str:
    whose = (owner.boot_id, owner.pid_namespace, owner.pid, owner.started_ticks)
    return ".".join([_PREFIX, *map(str, whose)])


def sweep(place: Place, identity: Identity) -> None:
    """Remove the groups of dead workers, and kill what is left of their jobs."""
    for folder in place.folder.glob(f"{_PREFIX}.*"):
        owner = _owner_of(folder, identity)
        if owner is None or not identity.is_dead(owner):
            continue
        signal_all(members(folder), signal.SIGKILL)
        if not remove_group(folder):
            _log.debug("group %s of a dead worker is not empty yet", folder)


def _owner_of(folder: Path, identity: Identity) -> Owner | None:
    """Return the supervisor that made a group; None: its name tells of none."""
    parts = folder.name.split(".")
    if len(parts) != _PARTS or not all(part.isdecimal() for part in parts[2:5]):
        return None
    namespace, pid, ticks = map(int, parts[2:5])
    return Owner(
        worker="",
        host=identity.host,
        boot_id=parts[1],
        pid_namespace=namespace,
        pid=pid,
        started_ticks=ticks,
    )
