"""The GPUs of a worker, beside the other workers of its host: who has how much of which.

A ledger for each device says what each worker has of it: for its jobs, and for idle children that
keep what they have loaded there. Those are a worker's to spare: its own jobs may have their part at
once, since such a child is ended before another begins on the device, and it is ended as well when
the job of another worker asks for the room. Workers of other users, and of containers with a folder
of their own, do not know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from penstock.core.demand import Demand
from penstock.core.devices import NOTHING, Device, Devices, share_of

from .host_ledger import HostLedger


class DeviceShares:
    """What jobs and idle children here have of each device, and what is left to them."""

    def __init__(
        self, devices: Sequence[Device], ledger_of: Callable[[Device], HostLedger] | None = None
    ) -> None:
        """Begin with nobody holding anything.

        Args:
            devices: of this worker.
            ledger_of: opens the ledger of a device; None: there is no other worker.
        """
        self._by_uuid = {one.uuid: one for one in devices}
        self._devices = Devices(devices)
        self._ledgers = {} if ledger_of is None else {one.uuid: ledger_of(one) for one in devices}
        self._kept: dict[Hashable, Mapping[str, int]] = {}
        self._gates: dict[str, int] = {}
        self._gated: Demand | None = None
        self._asked: frozenset[str] = frozenset()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Memory of each device, in the driver's order."""
        return tuple(one.memory_bytes for one in self._by_uuid.values())

    def fits(self, demand: Demand) -> bool:
        """Return whether a job fits now."""
        return self._devices.fitting(demand, taken=self._taken(demand)) is not None

    def fits_alone(self, demand: Demand) -> bool:
        """Return whether it would, were there no other worker."""
        return self._devices.fitting(demand) is not None

    def may_take(self) -> bool:
        """Return whether no worker that stands still keeps others from taking devices."""
        return all(one.may_take() for one in self._ledgers.values())

    def memory_bytes(self, uuids: Collection[str]) -> int:
        """Return what the smallest of these devices has; 0: there is none."""
        return self._devices.memory_bytes(uuids)

    def take(
        self, holder: Hashable, demand: Demand, *, warm: Collection[str] = ()
    ) -> tuple[str, ...] | None:
        """Let a job hold what it needs; return the devices, None: it does not fit now.

        Race: another worker of the host may be quicker than a look; the ledgers decide.

        Args:
            holder: what `give_back` is told.
            demand: of the job.
            warm: devices on which its task has something loaded; they are taken first.
        """
        taken = self._taken(demand) if demand.takes_gpu else NOTHING
        chosen = self._devices.take(holder, demand, warm=warm, taken=taken)
        if chosen is None or all(map(self._tell_taken, chosen)):
            return chosen
        self._devices.give_back(holder)
        self._tell(chosen)
        return None

    def give_back(self, holder: Hashable) -> None:
        """End what a job holds, if it holds anything."""
        self._tell(self._devices.give_back(holder))

    def keep(self, child: Hashable, devices: Collection[str], share_bytes: int) -> None:
        """Note that a child without a job still has what its jobs had, until `release`.

        Args:
            child: what `release` is told.
            devices: that it sees.
            share_bytes: its part of each; 0: all of them.
        """
        demand = Demand(gpus=0 if share_bytes else len(devices), gpu_memory_bytes=share_bytes)
        if devices:
            self._kept[child] = {uuid: share_of(self._by_uuid[uuid], demand) for uuid in devices}
            self._tell(devices)

    def release(self, child: Hashable) -> None:
        """Note that a child has a job again, or is gone."""
        self._tell(self._kept.pop(child, NOTHING))

    def ask_for(self, demands: Iterable[Demand]) -> None:
        """Ask other workers to end their idle children, where a job that does not fit would then.

        Args:
            demands: of the jobs that wait; none: nothing is asked any longer.
        """
        waiting = list(demands)
        if not waiting and not self._asked:
            return
        spare = {uuid: one.others_spare_bytes() for uuid, one in self._ledgers.items()}
        found: set[str] = set()
        if any(spare.values()):
            for demand in waiting:
                taken = self._taken(demand)
                freed = {uuid: held - spare.get(uuid, 0) for uuid, held in taken.items()}
                if self._devices.fitting(demand, taken=taken) is None:
                    found.update(self._devices.fitting(demand, taken=freed) or ())
        asked = frozenset(uuid for uuid in found if spare[uuid])
        for uuid in asked ^ self._asked:
            self._ledgers[uuid].ask(asks=uuid in asked)
        self._asked = asked

    def asked(self) -> frozenset[str]:
        """Return the devices on which another worker asks for the room of idle children here."""
        kept = frozenset().union(*self._kept.values())
        return frozenset(
            uuid for uuid, one in self._ledgers.items() if uuid in kept and one.is_asked
        )

    def hold_gate(self, demand: Demand) -> bool:
        """Leave devices to a large job, here and in other workers, until `open_gate`.

        Other jobs may have other devices. False: another worker holds such a gate.
        """
        self.open_gate()
        for uuid in sorted(self._devices.awaited(demand, taken=self._taken(demand))):
            ledger, wanted_bytes = self._ledgers.get(uuid), share_of(self._by_uuid[uuid], demand)
            if ledger is not None and not ledger.hold_gate(wanted_bytes):
                self.open_gate()
                return False
            self._gates[uuid] = wanted_bytes
        self._gated = demand
        return True

    def open_gate(self) -> None:
        """Hold none any longer."""
        for uuid in self._gates:
            if uuid in self._ledgers:
                self._ledgers[uuid].open_gate()
        self._gates = {}
        self._gated = None

    def look_after(self) -> None:
        """Forget workers that have ended without a word."""
        for one in self._ledgers.values():
            one.look_after()

    def close(self) -> None:
        """Leave the devices to the others."""
        for one in self._ledgers.values():
            one.close()

    def _taken(self, demand: Demand) -> Mapping[str, int]:
        """Return what a job finds taken of each device by other workers, and left to who waits."""
        taken = {uuid: one.others_bytes() for uuid, one in self._ledgers.items()}
        if demand != self._gated:
            for uuid, wanted_bytes in self._gates.items():
                taken[uuid] = taken.get(uuid, 0) + wanted_bytes
        return taken

    def _kept_bytes(self, uuid: str) -> int:
        return sum(held.get(uuid, 0) for held in self._kept.values())

    def _tell_taken(self, uuid: str) -> bool:
        ledger = self._ledgers.get(uuid)
        return ledger is None or ledger.take(
            self._devices.held_bytes(uuid),
            pool_bytes=self._by_uuid[uuid].memory_bytes,
            spare_bytes=self._kept_bytes(uuid),
        )

    def _tell(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            if uuid in self._ledgers:
                self._ledgers[uuid].note(self._devices.held_bytes(uuid), self._kept_bytes(uuid))
