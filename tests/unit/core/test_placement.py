"""Where waiting jobs find room, and when."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.capacity import Capacity, Stance
from penstock.core.demand import Demand
from penstock.core.load import Load
from penstock.core.placement import Running, place, starts_in_ms
from penstock.core.pool import sharing
from penstock.core.room import FULL, GATE, HOST, PRESSURE, QUIET, Room

GIB = 2**30


def job(name: str, size: int = 0, *, rank: int = 0, queue: str = "q", **more: Any) -> Load:
    """Return a job of task "t" that needs a slot and so many GiB."""
    each = {"bytes": size * GIB, "most_bytes": size * GIB, "least_bytes": size * GIB, **more}
    return Load(job=name, task="t", queue=queue, rank=(rank, name), slots=1, **each)


def room(worker: str, total: int | None = None, slots: int | None = None, **more: Any) -> Room:
    """Return an empty worker of queue q; without a size it does not say what it has."""
    has = None if total is None else Capacity(memory_bytes=total * GIB, slots=slots, **more)
    return Room(worker=worker, queues=frozenset({"q"}), has=has)


def test_the_best_that_fits_goes_first() -> None:
    """A job that does not fit is passed over; what it lacks is not held for it."""
    waiting = [job("late", 1, rank=3), job("large", 3, rank=1), job("first", 2, rank=2)]
    assert place([room("w", 2, 4)], waiting) == {"first": "w"}
    assert place([room("v", 2, 4), room("w", 4, 4)], waiting) == {
        "first": "v", "large": "w", "late": "w",
    }  # fmt: skip
    assert place([room("w", 9, 1)], waiting) == {"large": "w"}


def test_a_worker_takes_what_it_serves_and_what_it_can_hold() -> None:
    """One that does not say what it has is not ruled out; of a class the largest must fit."""
    assert place([room("w", 9, 9)], [job("other", 1, queue="r")]) == {}
    assert place([room("w")], [job("huge", 900)]) == {"huge": "w"}
    assert place([room("w", 2, 1)], [job("fits", 1, most_bytes=2 * GIB)]) == {"fits": "w"}
    half = room("w", 2, 2).with_job(job("there", 1))
    assert place([half], [job("class", 1, most_bytes=2 * GIB)]) == {}
    # What is assumed is cut to what the worker has.
    assert place([room("w", 1, 1)], [job("cut", 5, least_bytes=0)]) == {"cut": "w"}


def test_a_start_is_foreseen_by_the_ends_of_others() -> None:
    """In turn with those ahead; unknown where a job runs of which nothing is known."""
    there = [Running(worker="w", load=job("a", 1), since_ms=300)]
    rooms = [room("w", 1, 1).with_job(job("a", 1))]

    def starts(waiting: list[Load], runs: dict[str, int]) -> int | None:
        target = job("me", 1, rank=5)
        return starts_in_ms(target, rooms=rooms, running=there, waiting=waiting, runs_ms=runs)

    assert starts([], {"t": 1_000}) == 700
    assert starts([job("b", 1, rank=1), job("c", 1, rank=9)], {"t": 1_000}) == 1_700
    assert starts([], {"t": 100}) == 0
    assert starts([], {}) is None
    free = starts_in_ms(job("me", 1), rooms=[room("w", 1, 1)], running=[], waiting=[], runs_ms={})
    assert free == 0


def test_what_is_counted_beside_memory_runs_out_too() -> None:
    """CPUs, resources and GPUs are taken and given back; a label is there or not."""
    has = room(
        "w", 9, 9, cpus_milli=2_000, labels=("eu",), resources={"license": 1},
        gpu_memory_bytes=(8 * GIB,),
    )  # fmt: skip
    for taken, wanted in (
        (Demand(cpus_milli=1_500), Demand(cpus_milli=1_000)),
        (Demand(resources=(("license", 1),)), Demand(resources=(("license", 1),))),
        (Demand(gpus=1), Demand(gpu_memory_bytes=GIB)),
        (Demand(gpu_memory_bytes=5 * GIB), Demand(gpu_memory_bytes=4 * GIB)),
    ):
        full = has.with_job(job("there", beside=taken))
        assert has.fits(job("me", beside=wanted))
        assert not full.fits(job("me", beside=wanted)), wanted
        assert full.holds(job("me", beside=wanted))
        assert full.without_job("there").fits(job("me", beside=wanted))
    assert has.fits(job("me", beside=Demand(labels=("eu",))))
    assert has.lacks(job("me", beside=Demand(labels=("us",)))) == "label us"
    assert "newer release" in (has.lacks(job("me", beside=None)) or "")


def test_workers_of_one_host_share_its_memory() -> None:
    """What one takes the other one lacks, is told as an obstacle of its own, and comes back."""
    shared = {"pool": "host", "pool_bytes": 3 * GIB}
    rooms = [room("v", 2, 4, **shared), room("w", 3, 4, **shared), room("x", 2, 4)]
    waiting = [job("a", 2, rank=1), job("b", 2, rank=2), job("c", 2, rank=3)]
    assert place(rooms, waiting) == {"a": "v", "b": "x"}
    there = [Running(worker="v", load=job("a", 2), since_ms=300)]
    both = sharing({"v": rooms[0].with_job(job("a", 2)), "w": rooms[1]})
    assert both["w"].obstacles(job("me", 2)) == {HOST}
    assert both["v"].obstacles(job("me", 2)) == {FULL, HOST}
    assert (both["w"].free_bytes, both["w"].own_free_bytes) == (GIB, 3 * GIB)
    assert not both["w"].obstacles(job("small", 1))
    assert not both["w"].without({HOST}, job("me", 2)).obstacles(job("me", 2))
    starts = starts_in_ms(
        job("me", 2), rooms=list(both.values()), running=there, waiting=[], runs_ms={"t": 1_000}
    )
    assert starts == 700


def holding(one: Room, **stance: Any) -> Room:
    """Return a worker that holds something back."""
    assert one.has is not None
    return msgspec.structs.replace(
        one, has=msgspec.structs.replace(one.has, stance=Stance(**stance))
    )


def test_what_a_worker_holds_back_are_obstacles() -> None:
    """Each by itself; taken away, the job fits. A coroutine is kept from by quiet mode alone."""
    half = room("w", 4, 4, cpus_milli=1_000).with_job(job("there", 2))
    small, light = job("small", 1, need="alone.m1"), job("light")
    kept = holding(half, held_for=("q", "alone.m20"), held_bytes=3 * GIB)
    for one, kind in (
        (kept, GATE),
        (holding(half, is_pressed=True), PRESSURE),
        (holding(half, is_quiet=True), QUIET),
    ):
        assert one.obstacles(small) == {kind}
        assert not one.without({kind}, small).obstacles(small)
        assert bool(one.obstacles(light)) is (kind is QUIET)
    # Nobody runs there, so that it is not this worker that takes the memory.
    assert not holding(room("w", 4, 4), is_pressed=True).obstacles(small)
    # The set that room is kept for, and what does not take of it.
    assert not kept.obstacles(job("first", 1, need="alone.m20"))
    cpus = holding(half, held_for=("q", "takes.c2000:alone"), held_bytes=GIB)
    assert not cpus.obstacles(small)
    assert cpus.obstacles(job("cpu", 1, beside=Demand(cpus_milli=500))) == {GATE}
    # Once it fits it goes first.
    fits = holding(half, held_for=("q", "alone.m18"), held_bytes=2 * GIB)
    assert fits.obstacles(small) == {GATE}


def test_a_neighbour_for_which_room_is_kept_leaves_less_of_the_pool() -> None:
    """Others leave free what one of them wants; it does not leave it to itself."""
    shared = {"pool": "host", "pool_bytes": 4 * GIB}
    kept = {"held_bytes": 3 * GIB, "wanted_bytes": 3 * GIB}
    one = holding(room("v", 3, 4, **shared), held_for=("q", "alone.m20"), **kept)
    rooms = sharing({"v": one.with_job(job("there", 2)), "w": room("w", 3, 4, **shared)})
    assert rooms["w"].obstacles(job("me", 2)) == {GATE}
    assert rooms["v"].obstacles(job("me", 1)) == {GATE}
    assert not rooms["w"].without({GATE}, job("me", 2)).obstacles(job("me", 2))
    assert rooms["w"].obstacles(job("me", 3)) == {HOST}


def test_light_functions_have_slots_of_their_own_first() -> None:
    """A long one needs a full slot, of which children take too; who tells no lane is not full."""
    lanes = room("w", 4, 1, light_slots=1)
    light, long = job("light", lane="light"), job("long", lane="full")
    one_light = lanes.with_job(job("a", lane="light"))
    assert (one_light.free_slots, one_light.free_light_slots) == (1, 0)
    assert not one_light.obstacles(light)
    assert not one_light.obstacles(job("lone", 1))
    one_long = lanes.with_job(job("b", lane="full"))
    assert (one_long.free_slots, one_long.free_light_slots) == (0, 1)
    assert not one_long.obstacles(light)
    assert one_long.obstacles(long) == one_long.obstacles(job("lone", 1)) == {FULL}
    with_child = lanes.with_job(job("child", 1))
    assert with_child.obstacles(long) == {FULL}
    both = one_long.with_job(job("c", lane="light"))
    assert both.obstacles(light) == {FULL}
    silent = room("old", 4, 1).with_job(job("b", lane="full"))
    assert not silent.obstacles(light)
    two = [job("1", lane="full", rank=1), job("2", lane="full", rank=2)]
    assert place([lanes], [*two, light]) == {"1": "w", "light": "w"}
