"""GPUs of one worker, and which job holds what of which. Pure.

A job takes whole devices, or a share of one device's memory. A share is a promise between jobs, not
a wall: nothing keeps a process from taking more of a device than it was given.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from .demand import Demand

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
"""No bytes of any device."""


class Device(NamedTuple):
    """One GPU.

    Attributes:
        uuid: as the driver names it; the same in every process, whatever else is visible there.
        memory_bytes: all that it has.
        name: of the model, for people.
    """

    uuid: str
    memory_bytes: int
    name: str = ""


class Devices:
    """The GPUs of a worker, and the leases on them."""

    def __init__(self, devices: Sequence[Device]) -> None:
        """Begin with nobody holding anything."""
        self._devices = tuple(devices)
        self._held: dict[Hashable, Mapping[str, int]] = {}

    def could_hold(self, demand: Demand) -> bool:
        """Return whether a job fits if nobody else is on any device."""
        return _choose(self._devices, self._all_free(), demand, ()) is not None

    def fitting(
        self, demand: Demand, *, taken: Mapping[str, int] = NOTHING
    ) -> tuple[str, ...] | None:
        """Return the devices on which a job fits now, None: it does not.

        Args:
            demand: of the job.
            taken: bytes of each device that other workers have.
        """
        chosen = _choose(self._devices, self._free(taken), demand, ())
        return None if chosen is None else tuple(one.uuid for one in chosen)

    def awaited(self, demand: Demand, *, taken: Mapping[str, int] = NOTHING) -> tuple[str, ...]:
        """Return the devices to wait for with a job that could be held; empty: there are none.

        Those of which other workers have least, since what is held here ends by what is done here.
        """
        able = [one for one in self._devices if one.memory_bytes >= demand.gpu_memory_bytes]
        able.sort(key=lambda one: (taken.get(one.uuid, 0), one.memory_bytes))
        count = demand.gpus or min(demand.gpu_memory_bytes, 1)
        return tuple(one.uuid for one in able[:count]) if len(able) >= count else ()

    def take(
        self, holder: Hashable, demand: Demand,
        *, warm: Collection[str] = (), taken: Mapping[str, int] = NOTHING,
    ) -> tuple[str, ...] | None:  # fmt: skip
        """Let a job hold what it needs; return the devices, None: it does not fit now.

        Args:
            holder: what `give_back` is told.
            demand: of the job.
            warm: devices on which its task has run in a child that still lives, which are taken
                first: what that child has loaded need not be loaded again.
            taken: bytes of each device that other workers have.
        """
        chosen = _choose(self._devices, self._free(taken), demand, warm)
        if chosen:
            self._held[holder] = {one.uuid: share_of(one, demand) for one in chosen}
        return None if chosen is None else tuple(one.uuid for one in chosen)

    def give_back(self, holder: Hashable) -> Collection[str]:
        """End what a job holds, if it holds anything; return the devices."""
        return self._held.pop(holder, NOTHING).keys()

    def memory_bytes(self, uuids: Collection[str]) -> int:
        """Return what the smallest of these devices has; 0: there is none."""
        return min((one.memory_bytes for one in self._devices if one.uuid in uuids), default=0)

    def held_bytes(self, uuid: str) -> int:
        """Return what all jobs here hold of a device."""
        return sum(held.get(uuid, 0) for held in self._held.values())

    def _all_free(self) -> dict[str, int]:
        return {one.uuid: one.memory_bytes for one in self._devices}

    def _free(self, taken: Mapping[str, int]) -> dict[str, int]:
        free = self._all_free()
        for held in (*self._held.values(), taken):
            for uuid, bytes_of in held.items():
                free[uuid] -= bytes_of
        return free


def share_of(device: Device, demand: Demand) -> int:
    """Return the bytes of a device that a job takes which is given it."""
    return device.memory_bytes if demand.gpus else demand.gpu_memory_bytes


def could_hold(memory_bytes: Sequence[int], demand: Demand) -> bool:
    """Return whether idle devices with so much memory could hold a job."""
    devices = [Device(str(number), each) for number, each in enumerate(memory_bytes)]
    return Devices(devices).could_hold(demand)


def _choose(
    devices: Sequence[Device], free: Mapping[str, int], demand: Demand, warm: Collection[str]
) -> Sequence[Device] | None:
    """Return the devices for a demand, in their own order; None: they are not free.

    Warm ones are taken first. Then whole devices by size, the smallest that will do, and shares
    where least is left, so that what is large and what is free stays whole for those that need it.
    """
    if not demand.takes_gpu:
        return ()
    if demand.gpus:
        able = [
            one for one in devices
            if free[one.uuid] == one.memory_bytes >= demand.gpu_memory_bytes
        ]  # fmt: skip
        able.sort(key=lambda one: (one.uuid not in warm, one.memory_bytes))
        chosen = able[: demand.gpus]
        return [one for one in devices if one in chosen] if len(chosen) == demand.gpus else None
    able = [one for one in devices if free[one.uuid] >= demand.gpu_memory_bytes]
    able.sort(key=lambda one: (one.uuid not in warm, free[one.uuid]))
    return able[:1] or None
