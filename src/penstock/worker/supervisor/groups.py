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
from typing import Final

from penstock.executors.cgroups import NoGroups, Place, find_place, make_way
from penstock.executors.memory_group import MemoryGroup, members, remove_group
from penstock.executors.procfs import signal_all

from .identity import OWNED_PREFIX, Identity, owner_named

_log = logging.getLogger("penstock.worker")

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
        self.place = place
        self._stem = stem
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls, boot_id: str) -> Groups:
        """Find out where groups can be made, and remove what dead workers have left there.

        With version 2 this process moves into a group of its own: call it before anything is
        started that is to move with it.
        """
        identity = Identity.of_this_process(boot_id)
        stem = identity.owned_name(os.getpid())
        try:
            place = _outside(find_place(), f"{stem}.{_WORKER}")
            sweep(place, identity)
            _sweep_former(place, stem)
            make_way(place, f"{stem}.{_WORKER}")
        except NoGroups as why:
            return cls(told=f"memory limits are watched, and not enforced by the kernel: {why}")
        told = f"memory limits are enforced by control groups below {place.folder}"
        return cls(place, stem, told)

    async def make(self, pid: int) -> MemoryGroup | None:
        """Make a group for a child that was just started; None: it is only watched."""
        if self.place is None:
            return None
        group: MemoryGroup | None = None
        try:
            group = MemoryGroup(self.place, f"{self._stem}.{next(self._numbers)}")
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


def _outside(place: Place, own: str) -> Place:
    """Return the group that this process was started in.

    A worker that begins anew is in the group `own` still, into which it moved when it began.
    """
    return place._replace(folder=place.folder.parent) if place.folder.name == own else place


def _sweep_former(place: Place, stem: str) -> None:
    """Remove what this very process has left as another worker, before it began anew.

    Nobody takes it for dead, and the next one counts its groups from 1 again.
    """
    for folder in place.folder.glob(f"{stem}.*"):
        if folder.name.removeprefix(f"{stem}.").isdecimal():
            signal_all(members(folder), signal.SIGKILL)
            remove_group(folder)


def sweep(place: Place, identity: Identity) -> bool:
    """Remove the groups of dead workers, and kill what is left of their jobs.

    False: one of them is not empty yet.
    """
    is_clean = True
    for folder in place.folder.glob(f"{OWNED_PREFIX}.*"):
        owner = owner_named(folder.name, identity.host)
        if owner is None or not identity.is_dead(owner):
            continue
        signal_all(members(folder), signal.SIGKILL)
        is_clean &= remove_group(folder)
    return is_clean
