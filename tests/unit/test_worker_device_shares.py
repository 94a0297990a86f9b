"""GPUs between the workers of one host: jobs, idle children, and who waits for whom."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.core.demand import Demand
from penstock.core.devices import Device
from penstock.worker.supervisor.device_shares import DeviceShares
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record

GIB = 2**30
DEVICES = [Device("large", 24 * GIB), Device("small", 8 * GIB)]
WHOLE, BOTH = Demand(gpus=1), Demand(gpus=2)


def share(gib: int) -> Demand:
    """Return a demand for a part of a device."""
    return Demand(gpu_memory_bytes=gib * GIB)


class Host:
    """Workers of one host; `dead` ones are told from the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: list[DeviceShares] = []
        self.dead: set[int] = set()

    def worker(self) -> DeviceShares:
        """Return the shares of a further worker; they are numbered from 1."""
        owner = Record(len(self._opened) + 1, 1)

        def ledger_of(device: Device) -> HostLedger:
            return HostLedger(
                self._folder / device.uuid, owner, is_alive=lambda one: one.pid not in self.dead
            )

        self._opened.append(DeviceShares(DEVICES, ledger_of))
        return self._opened[-1]

    def close(self) -> None:
        """Leave no file behind."""
        for one in self._opened:
            one.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host without workers."""
    made = Host(tmp_path)
    yield made
    made.close()


def test_workers_have_parts_of_one_device(host: Host) -> None:
    """Together no more than there is; a whole one is nobody else's."""
    one, other = host.worker(), host.worker()
    assert one.take("a", share(16)) == ("large",)
    assert other.take("b", share(8)) == ("large",)
    assert one.take("c", share(8)) == ("small",)
    assert other.take("d", share(1)) is None
    assert not other.fits(share(1))
    assert other.fits_alone(share(16))
    one.give_back("a")
    assert other.take("d", WHOLE) is None
    other.give_back("b")
    assert other.take("d", WHOLE) == ("large",)
    assert not one.fits(share(1))


def test_workers_that_take_at_once_stay_within_the_devices(host: Host) -> None:
    """All devices of a job or none: what was refused leaves nothing behind."""
    workers, lock = [host.worker() for _ in range(4)], threading.Lock()
    held: Counter[str] = Counter()
    sizes = {one.uuid: one.memory_bytes for one in DEVICES}
    went_over: list[Counter[str]] = []
    demands = [BOTH, share(6), WHOLE, share(3)]

    def take_turns(number: int) -> None:
        for turn in range(200):
            demand = demands[(number + turn) % 4]
            taken = workers[number].take(turn, demand) or ()
            parts = {
                uuid: sizes[uuid] if demand.gpus else demand.gpu_memory_bytes for uuid in taken
            }
            with lock:
                held.update(parts)
                if any(held[uuid] > size for uuid, size in sizes.items()):
                    went_over.append(held.copy())
            with lock:
                held.subtract(parts)
            workers[number].give_back(turn)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take_turns, range(4)))
    assert not went_over
    assert all(one.fits(BOTH) for one in workers)


def test_what_an_idle_child_keeps_is_its_own_workers(host: Host) -> None:
    """Others have it once they have asked and it is gone."""
    one, other = host.worker(), host.worker()
    assert one.take("a", share(20)) == ("large",)
    one.keep("child", ["large"], 20 * GIB)
    one.give_back("a")
    assert one.fits(BOTH)
    assert not other.fits(BOTH)
    other.ask_for([BOTH])
    assert one.asked() == {"large"}
    assert other.asked() == frozenset()
    one.release("child")
    assert one.asked() == frozenset()
    assert other.take("b", BOTH) == ("large", "small")


def test_an_idle_child_is_asked_for_where_that_helps(host: Host) -> None:
    """Else a model would be loaded again for nothing."""
    one, other = host.worker(), host.worker()
    assert one.take("a", share(16)) == ("large",)
    one.keep("child", ["large"], 8 * GIB)
    other.ask_for([share(9), BOTH])
    assert one.asked() == frozenset()
    other.ask_for([share(4)])
    assert one.asked() == frozenset(), "the small device has room"
    assert other.take("b", WHOLE) == ("small",)
    other.ask_for([share(4)])
    assert one.asked() == {"large"}
    other.ask_for([])
    assert one.asked() == frozenset()


def test_a_child_that_had_whole_devices_keeps_all_of_them(host: Host) -> None:
    """It may have filled each of them."""
    one, other = host.worker(), host.worker()
    one.keep("child", ["large", "small"], 0)
    assert not any(other.fits(share(1)) for _ in range(2))
    other.ask_for([share(1)])
    assert one.asked() == {"small"}
    one.release("child")
    one.release("child")
    assert other.fits(BOTH)


def test_one_worker_waits_for_a_device(host: Host) -> None:
    """Others leave it what it wants, and may wait for another device."""
    one, other = host.worker(), host.worker()
    assert other.take("a", share(4)) == ("small",)
    assert one.hold_gate(BOTH)
    assert not other.fits(share(1))
    assert not other.hold_gate(share(20))
    one.open_gate()
    assert one.hold_gate(WHOLE)
    assert not other.fits(share(9)), "it waits for the device that others use least"
    assert other.take("b", share(4)) == ("small",)
    assert one.take("c", WHOLE) == ("large",)
    one.open_gate()
    one.give_back("c")
    assert other.fits(share(9))


def test_what_is_waited_for_is_left_free_here_too(host: Host) -> None:
    """By jobs of other demands, which may have the other device."""
    one = host.worker()
    assert one.take("a", share(20)) == ("large",)
    assert one.hold_gate(Demand(gpus=1, gpu_memory_bytes=9 * GIB))
    assert one.take("b", share(2)) == ("small",)
    one.give_back("a")
    assert one.take("c", share(2)) == ("small",)
    assert one.take("c", share(5)) is None
    assert one.take("d", Demand(gpus=1, gpu_memory_bytes=9 * GIB)) == ("large",)
    one.open_gate()
    one.give_back("d")
    assert one.take("c", share(5)) == ("large",)


def test_the_dead_have_no_part_of_a_device(host: Host) -> None:
    """Neither what their jobs had, nor their children; they ask and wait for nothing."""
    one, other = host.worker(), host.worker()
    assert one.take("a", share(16)) == ("large",)
    one.keep("child", ["small"], 0)
    assert one.hold_gate(BOTH)
    other.keep("idle", ["small"], GIB)
    one.ask_for([BOTH])
    host.dead.add(1)
    other.look_after()
    assert other.asked() == frozenset()
    assert other.take("b", BOTH) == ("large", "small")


def test_a_worker_alone_shares_with_nobody() -> None:
    """It counts for itself."""
    alone = DeviceShares(DEVICES)
    assert alone.take("a", BOTH) == ("large", "small")
    alone.keep("child", ["large"], 0)
    alone.ask_for([WHOLE])
    assert (alone.asked(), alone.fits(WHOLE), alone.hold_gate(WHOLE)) == (frozenset(), False, True)
    alone.open_gate()
    alone.give_back("a")
    assert alone.take("b", Demand()) == ()
    assert alone.sizes == (24 * GIB, 8 * GIB)
    alone.close()
