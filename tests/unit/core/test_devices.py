"""Which job holds what of which GPU."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.demand import Demand
from penstock.core.devices import Device, Devices

GIB = 2**30
ONE = Demand(gpus=1)


def share(gib: int) -> Demand:
    """Return a demand for a part of a device."""
    return Demand(gpu_memory_bytes=gib * GIB)


def two() -> Devices:
    """Return a large device and a small one."""
    return Devices([Device("large", 24 * GIB), Device("small", 8 * GIB)])


def test_whole_devices_belong_to_one_job() -> None:
    """The smallest that will do first; nobody shares it, until it is given back."""
    devices = two()
    assert devices.take("a", ONE) == ("small",)
    assert devices.take("b", share(1)) == ("large",)
    assert devices.take("c", ONE) is None
    assert devices.fitting(ONE) is None
    assert devices.could_hold(Demand(gpus=2))
    devices.give_back("b")
    assert devices.take("c", Demand(gpus=1, gpu_memory_bytes=16 * GIB)) == ("large",)
    assert devices.take("d", share(1)) is None


def test_several_devices_come_in_the_workers_order() -> None:
    """Whichever was chosen first: a child that sees them is found again."""
    devices = Devices([Device(name, 8 * GIB) for name in "abc"])
    assert devices.take("first", Demand(gpus=2), warm=["c"]) == ("a", "c")
    assert two().take("first", Demand(gpus=2)) == ("large", "small")


def test_shares_fill_the_fullest_device_that_has_room() -> None:
    """So that the other one stays whole for who needs it."""
    devices = two()
    assert devices.take("a", share(4)) == ("small",)
    assert devices.take("b", share(4)) == ("small",)
    assert devices.take("c", share(4)) == ("large",)
    assert devices.take("d", share(21)) is None
    assert devices.take("d", share(20)) == ("large",)


def test_a_device_where_the_task_is_warm_comes_first() -> None:
    """Its model need not be loaded again; where it does not fit another is taken."""
    devices = two()
    assert devices.take("a", share(4), warm=["large"]) == ("large",)
    assert devices.take("b", share(21), warm=["large"]) is None
    assert devices.take("c", ONE, warm=["large"]) == ("small",)


def test_what_other_workers_have_is_not_there() -> None:
    """A device of which they have a part is no whole one; its rest may be shared."""
    devices, taken = two(), {"large": 4 * GIB, "small": 0}
    assert devices.take("a", Demand(gpus=2), taken=taken) is None
    assert devices.fitting(Demand(gpus=1, gpu_memory_bytes=9 * GIB), taken=taken) is None
    assert devices.take("a", share(21), taken=taken) is None
    assert devices.take("a", share(20), taken=taken) == ("large",)
    assert devices.held_bytes("large") == 20 * GIB
    assert devices.give_back("a") == {"large"}
    assert devices.give_back("a") == set()
    assert devices.held_bytes("large") == 0


def test_a_large_job_waits_where_others_have_least() -> None:
    """What is held here ends by what is done here."""
    devices, taken = two(), {"large": 4 * GIB, "small": 5 * GIB}
    assert devices.awaited(ONE, taken=taken) == ("large",)
    assert devices.awaited(ONE) == ("small",)
    assert devices.awaited(share(9), taken={"large": 24 * GIB}) == ("large",)
    assert devices.awaited(Demand(gpus=2), taken=taken) == ("large", "small")
    assert devices.awaited(Demand(gpus=3)) == devices.awaited(Demand()) == ()


def test_a_job_without_gpus_takes_none() -> None:
    """It fits also where there is no device."""
    assert Devices([]).take("a", Demand(cpus_milli=1)) == ()
    assert not Devices([]).could_hold(ONE)


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 30), st.booleans()), max_size=40
)


@given(sizes=st.lists(st.integers(1, 24), max_size=4), steps=STEPS)
def test_no_device_is_given_out_twice(
    sizes: list[int], steps: list[tuple[int, int, int, bool]]
) -> None:
    """Whatever comes and goes: shares stay within each device, and a whole one has one holder."""
    memory = {f"gpu{n}": size * GIB for n, size in enumerate(sizes)}
    devices = Devices([Device(uuid, size) for uuid, size in memory.items()])
    held: dict[int, tuple[Demand, tuple[str, ...]]] = {}
    for holder, gpus, gib, is_taking in steps:
        devices.give_back(holder)
        held.pop(holder, None)
        if is_taking:
            demand = Demand(gpus=gpus, gpu_memory_bytes=gib * GIB)
            fits, found = devices.fitting(demand), devices.take(holder, demand)
            assert fits == found
            if found is not None:
                assert len(found) == (gpus or (1 if gib else 0))
                held[holder] = demand, found
        for uuid, size in memory.items():
            here = [one for one, uuids in held.values() if uuid in uuids]
            assert not any(one.gpus for one in here) or len(here) == 1
            assert sum(one.gpu_memory_bytes for one in here) <= size
