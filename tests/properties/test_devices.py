"""GPUs are never given out twice, in one worker or in several, whatever comes and goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.core.demand import Demand
from penstock.core.devices import NOTHING, Device, Devices, share_of
from penstock.worker.supervisor.device_shares import DeviceShares
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record

GIB = 2**30
SIZES = st.lists(st.sampled_from([8, 16, 16, 24]), min_size=1, max_size=3)
WHOLE = st.builds(
    lambda gpus, gib: Demand(gpus=gpus, gpu_memory_bytes=gib * GIB),
    st.integers(1, 2),
    st.sampled_from([0, 0, 10, 24]),
)
SHARE = st.builds(lambda gib: Demand(gpu_memory_bytes=gib * GIB), st.integers(1, 24))
DEMANDS = SHARE | WHOLE


def make(sizes: list[int]) -> list[Device]:
    """Return devices of so many GiB."""
    return [Device(f"gpu{number}", size * GIB) for number, size in enumerate(sizes)]


def able(devices: list[Device], demand: Demand, used: Mapping[str, int]) -> set[str]:
    """Return the devices that a job may have, where so much of them is used."""
    if demand.gpus:
        idle = (one for one in devices if not used.get(one.uuid, 0))
        return {one.uuid for one in idle if one.memory_bytes >= demand.gpu_memory_bytes}
    free = {one.uuid: one.memory_bytes - used.get(one.uuid, 0) for one in devices}
    return {uuid for uuid, left in free.items() if left >= demand.gpu_memory_bytes}


class DevicesMachine(RuleBasedStateMachine):
    """One worker: what is granted, held against a count of its own."""

    kind: type[Devices] = Devices

    @initialize(sizes=SIZES)
    def begin(self, sizes: list[int]) -> None:
        """Begin with nobody holding anything."""
        self.list = make(sizes)
        self.devices = self.kind(self.list)
        self.held: dict[int, dict[str, int]] = {}
        self.count = 0

    def used(self, taken: Mapping[str, int] = NOTHING) -> dict[str, int]:
        """Return what is used of each device, by others too."""
        return {
            one.uuid: taken.get(one.uuid, 0)
            + sum(parts.get(one.uuid, 0) for parts in self.held.values())
            for one in self.list
        }

    @rule(demand=DEMANDS, data=st.data())
    def take(self, demand: Demand, data: st.DataObject) -> None:
        """A job is given devices exactly where there are some, warm ones before others."""
        uuids = [one.uuid for one in self.list]
        warm = data.draw(st.sets(st.sampled_from(uuids)), "warm")
        taken = data.draw(
            st.dictionaries(st.sampled_from(uuids), st.integers(0, 24).map(lambda gib: gib * GIB)),
            "taken by others",
        )
        may, needed = able(self.list, demand, self.used(taken)), demand.gpus or 1
        self.count += 1
        cold = self.devices.fitting(demand, taken=taken)
        given = self.devices.take(self.count, demand, warm=warm, taken=taken)
        assert (given is not None) == (cold is not None) == (len(may) >= needed)
        if given is not None:
            assert len(set(given)) == needed
            assert may.issuperset(given)
            assert len(warm & set(given)) == min(needed, len(warm & may))
            assert list(given) == [uuid for uuid in uuids if uuid in given]
            parts = {one.uuid: share_of(one, demand) for one in self.list if one.uuid in given}
            self.held[self.count] = parts

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A job ends; nothing of it stays."""
        holder = data.draw(st.sampled_from(sorted(self.held)))
        assert set(self.devices.give_back(holder)) == set(self.held.pop(holder))

    @invariant()
    def nothing_is_given_twice(self) -> None:
        """Shares stay within each device, and a whole one has one holder."""
        for one in self.list:
            parts = [held[one.uuid] for held in self.held.values() if one.uuid in held]
            assert self.devices.held_bytes(one.uuid) == sum(parts) <= one.memory_bytes
            assert one.memory_bytes not in parts or len(parts) == 1

    def teardown(self) -> None:
        """All is given back."""
        for holder in getattr(self, "held", ()):
            self.devices.give_back(holder)
        for one in getattr(self, "list", ()):
            assert self.devices.fitting(Demand(gpus=len(self.list))) is not None
            assert self.devices.held_bytes(one.uuid) == 0


class Part(NamedTuple):
    """What a job, or a child that is idle, has of some devices."""

    pid: int
    demand: Demand
    devices: tuple[str, ...]

    def bytes_on(self, device: Device) -> int:
        """Return its part of a device."""
        return share_of(device, self.demand) if device.uuid in self.devices else 0


class HostMachine(RuleBasedStateMachine):
    """Workers of one host over real ledgers: all that lives has its place on the devices."""

    workers_max = 3

    @initialize(sizes=SIZES)
    def begin(self, sizes: list[int]) -> None:
        """Begin with two workers."""
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-devices-"))
        self.list = make(sizes)
        self.dead: dict[int, DeviceShares] = {}
        self.workers: dict[int, DeviceShares] = {}
        self.jobs: dict[int, Part] = {}
        self.idle: dict[int, Part] = {}
        self.count = 0
        self.come()
        self.come()

    def open_shares(self, pid: int) -> DeviceShares:
        """Return the shares of a worker."""

        def ledger_of(device: Device) -> HostLedger:
            return HostLedger(
                self.folder / device.uuid,
                Record(pid, 1),
                is_alive=lambda one: one.pid not in self.dead,
            )

        return DeviceShares(self.list, ledger_of)

    def used(self, parts: Collection[Part]) -> dict[str, int]:
        """Return what some have of each device."""
        return {one.uuid: sum(part.bytes_on(one) for part in parts) for one in self.list}

    @precondition(lambda self: len(self.workers) < self.workers_max)
    @rule()
    def come(self) -> None:
        """One more worker."""
        self.count += 1
        self.workers[self.count] = self.open_shares(self.count)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A worker is killed, and all its children with it; nobody is told."""
        pid = data.draw(st.sampled_from(sorted(self.workers)), "killed")
        self.dead[pid] = self.workers.pop(pid)
        self.jobs = {key: one for key, one in self.jobs.items() if one.pid != pid}
        self.idle = {key: one for key, one in self.idle.items() if one.pid != pid}
        for one in self.workers.values():
            one.look_after()

    @rule(demand=DEMANDS, data=st.data())
    def run(self, demand: Demand, data: st.DataObject) -> None:
        """A job begins, in an idle child that suits it, or in a new one."""
        pid = data.draw(st.sampled_from(sorted(self.workers)), "worker")
        self.count += 1
        self.begins(pid, self.count, demand)

    def begins(self, pid: int, key: int, demand: Demand) -> bool:
        """Let a worker begin a job if it may."""
        mine = {child: one for child, one in self.idle.items() if one.pid == pid}
        warm = {uuid for one in mine.values() if one.demand == demand for uuid in one.devices}
        others = [one for one in (*self.jobs.values(), *self.idle.values()) if one.pid != pid]
        own = [one for one in self.jobs.values() if one.pid == pid]
        given = self.workers[pid].take(key, demand, warm=warm)
        enough = len(able(self.list, demand, self.used([*own, *others]))) >= (demand.gpus or 1)
        assert (given is not None) == enough
        if given is None:
            return False
        part = Part(pid, demand, given)
        suits = [child for child, one in mine.items() if one == part]
        gone = suits[:1] or [
            child for child, one in mine.items() if not set(given).isdisjoint(one.devices)
        ]
        for child in gone:
            self.end_idle(child)
        self.jobs[key] = part
        return True

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), keeps=st.booleans())
    def end(self, data: st.DataObject, *, keeps: bool) -> None:
        """A job ends, and its child with it, or the child waits for the next."""
        self.end_job(data.draw(st.sampled_from(sorted(self.jobs)), "ends"), keeps=keeps)

    def end_job(self, key: int, *, keeps: bool) -> None:
        """End a job."""
        part = self.jobs.pop(key)
        shares = self.workers[part.pid]
        if keeps:
            self.idle[key] = part
            share = 0 if part.demand.gpus else part.demand.gpu_memory_bytes
            shares.keep(key, part.devices, share)
        shares.give_back(key)

    def end_idle(self, child: Hashable) -> None:
        """End an idle child, or let it have a job."""
        self.workers[self.idle[child].pid].release(child)  # type: ignore[index]
        del self.idle[child]  # type: ignore[arg-type]

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """An idle child has waited for long enough."""
        self.end_idle(data.draw(st.sampled_from(sorted(self.idle)), "leaves"))

    @rule(demand=DEMANDS, data=st.data())
    def ask(self, demand: Demand, data: st.DataObject) -> None:
        """What idle children keep is in nobody's way for long: whoever asks for it gets it."""
        pid = data.draw(st.sampled_from(sorted(self.workers)), "asks")
        self.asks(pid, demand)
        enough = len(able(self.list, demand, self.used(self.jobs.values()))) >= (demand.gpus or 1)
        assert self.workers[pid].fits(demand) == enough

    def asks(self, pid: int, demand: Demand) -> None:
        """Let a worker ask, and the others answer."""
        self.workers[pid].ask_for([demand])
        for child, one in list(self.idle.items()):
            if not self.workers[one.pid].asked().isdisjoint(one.devices):
                self.end_idle(child)
        self.workers[pid].ask_for(())

    @rule(demand=DEMANDS, small=SHARE, data=st.data())
    def wait(self, demand: Demand, small: Demand, data: st.DataObject) -> None:
        """Whoever waits for devices has them once the jobs there have ended, whatever comes."""
        assume(len(able(self.list, demand, {})) >= (demand.gpus or 1))
        assume(small != demand)
        pid = data.draw(st.sampled_from(sorted(self.workers)), "waits")
        assert self.workers[pid].hold_gate(demand)
        for key in list(self.jobs):
            self.count += 1
            other = data.draw(st.sampled_from(sorted(self.workers)), "overtakes")
            given = self.workers[other].take(self.count, small)
            if given is not None:
                self.jobs[self.count] = Part(other, small, given)
                self.clear(other, given)
            self.end_job(key, keeps=data.draw(st.booleans(), "keeps"))
        self.asks(pid, demand)
        self.count += 1
        given = self.workers[pid].take(self.count, demand)
        self.workers[pid].open_gate()
        assert given is not None
        self.jobs[self.count] = Part(pid, demand, given)
        self.clear(pid, given)

    def clear(self, pid: int, devices: Collection[str]) -> None:
        """End a worker's idle children on devices."""
        for child, one in list(self.idle.items()):
            if one.pid == pid and not set(devices).isdisjoint(one.devices):
                self.end_idle(child)

    @invariant()
    def all_have_their_place(self) -> None:
        """Jobs and idle children of all workers; a whole device has one of them."""
        parts = [*self.jobs.values(), *self.idle.values()]
        for device, used in zip(self.list, self.used(parts).values(), strict=True):
            here = [one for one in parts if device.uuid in one.devices]
            assert used <= device.memory_bytes
            assert not any(one.demand.gpus for one in here) or len(here) == 1

    def teardown(self) -> None:
        """All is given back, and no file is left."""
        for key in list(getattr(self, "jobs", ())):
            self.end_job(key, keeps=False)
        for child in list(getattr(self, "idle", ())):
            self.end_idle(child)
        for one in getattr(self, "workers", {}).values():
            assert one.fits(Demand(gpus=len(self.list)))
            one.close()
        for one in getattr(self, "dead", {}).values():
            one.close()
        if hasattr(self, "folder"):
            left = list(self.folder.iterdir())
            shutil.rmtree(self.folder)
            assert not left


def lives(count: int) -> settings:
    """Return how many lives a machine has."""
    return settings(
        max_examples=count,
        stateful_step_count=40,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def test_one_worker_gives_no_device_out_twice() -> None:
    """And gives what there is, wherever something is loaded."""
    run_state_machine_as_test(DevicesMachine, settings=lives(100))


def test_workers_of_a_host_give_no_device_out_twice() -> None:
    """Nor does one wait for ever: not for idle children, and not for a stream of small jobs."""
    run_state_machine_as_test(HostMachine, settings=lives(100))


class ForgetsOthers(Devices):
    """Overlooks what other workers have."""

    def take(
        self, holder: Hashable, demand: Demand,
        *, warm: Collection[str] = (), taken: Mapping[str, int] = NOTHING,
    ) -> tuple[str, ...] | None:  # fmt: skip
        """As it should not be."""
        del taken
        return super().take(holder, demand, warm=warm)


class IsFaithful(Devices):
    """Takes no device but a warm one, if there are any."""

    def take(
        self, holder: Hashable, demand: Demand,
        *, warm: Collection[str] = (), taken: Mapping[str, int] = NOTHING,
    ) -> tuple[str, ...] | None:  # fmt: skip
        """As it should not be."""
        given = super().take(holder, demand, warm=warm, taken=taken)
        if given is None or not warm or set(given) & set(warm):
            return given
        self.give_back(holder)
        return None


@pytest.mark.parametrize("planted", [ForgetsOthers, IsFaithful])
def test_the_machine_finds_what_is_planted(planted: type[Devices]) -> None:
    """A check that cannot fail is none."""

    class Planted(DevicesMachine):
        kind = planted

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Planted, settings=settings(lives(100), derandomize=True, phases=[Phase.generate])
        )
