"""GPUs of one worker, and which job holds what of which. Pure.

A job takes whole devices, or a share of one device's memory. A share is a promise between jobs, not
a wall: nothing keeps a process from taking more of a device than it was given.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import NamedTuple

from .demand import Demand


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

    def could_hold(self, demand: Demand, *, without: Collection[str] = ()) -> bool:
        """Return whether a job fits if no other is here, without the devices of other workers."""
        return _choose(self._here(without), self._all_free(), demand, ()) is not None

    def fits(self, demand: Demand, *, without: Collection[str] = ()) -> bool:
        """Return whether a job fits now, without the devices of other workers."""
        return _choose(self._here(without), self._free(), demand, ()) is not None

    def take(
        self, holder: Hashable, demand: Demand,
        *, warm: Collection[str] = (), without: Collection[str] = (),
    ) -> tuple[str, ...] | None:  # fmt: skip
        """Let a job hold what it needs; return the devices, None: it does not fit now.

        Args:
            holder: what `give_back` is told.
            demand: of the job.
            warm: devices on which its task has run in a child that still lives, which are taken
                first: what that child has loaded need not be loaded again.
            without: devices that other workers have.
        """
        chosen = _choose(self._here(without), self._free(), demand, warm)
        if chosen:
            self._held[holder] = {
                one.uuid: one.memory_bytes if demand.gpus else demand.gpu_memory_bytes
                for one in chosen
            }
        return None if chosen is None else tuple(one.uuid for one in chosen)

    def give_back(self, holder: Hashable) -> None:
        """End what a job holds, if it holds anything."""
        self._held.pop(holder, None)

    def memory_bytes(self, uuids: Collection[str]) -> int:
        """Return what the smallest of these devices has; 0: there is none."""
        return min((one.memory_bytes for one in self._devices if one.uuid in uuids), default=0)

    def _here(self, without: Collection[str]) -> Sequence[Device]:
        return [one for one in self._devices if one.uuid not in without]

    def _all_free(self) -> dict[str, int]:
        return {one.uuid: one.memory_bytes for one in self._devices}

    def _free(self) -> dict[str, int]:
        free = self._all_free()
        for held in self._held.values():
            for uuid, taken in held.items():
                free[uuid] -= taken
        return free


def could_hold(memory_bytes: Sequence[int], demand: Demand) -> bool:
    """Return whether idle devices with so much memory could hold a job."""
    devices = [Device(str(number), each) for number, each in enumerate(memory_bytes)]
    return Devices(devices).could_hold(demand)


def _choose(
    devices: Sequence[Device], free: Mapping[str, int], demand: Demand, warm: Collection[str]
) -> Sequence[Device] | None:
    """Return the devices for a demand; None: they are not free.

    Warm ones first. Then whole devices by size, the smallest that will do, and shares where least
    is left, so that what is large and what is free stays whole for those that need it.
    """
    if not demand.takes_gpu:
        return ()
    if demand.gpus:
        able = [
            one for one in devices
            if free[one.uuid] == one.memory_bytes >= demand.gpu_memory_bytes
        ]  # fmt: skip
        able.sort(key=lambda one: (one.uuid not in warm, one.memory_bytes))
        return able[: demand.gpus] if len(able) >= demand.gpus else None
    able = [one for one in devices if free[one.uuid] >= demand.gpu_memory_bytes]
    able.sort(key=lambda one: (one.uuid not in warm, free[one.uuid]))
    return able[:1] or None
