"""Where waiting jobs find room, and when."""

from __future__ import annotations

from typing import Any

from penstock.core.placement import Load, Room, Running, place, starts_in_ms

GIB = 2**30


def job(name: str, size: int = 0, *, rank: int = 0, queue: str = "q", **more: Any) -> Load:
    """Return a job of task "t" that needs a slot and so many GiB."""
    each = {"bytes": size * GIB, "most_bytes": size * GIB, "least_bytes": size * GIB, **more}
    return Load(job=name, task="t", queue=queue, rank=(rank, name), slots=1, **each)


def room(worker: str, total: int | None = None, slots: int | None = None) -> Room:
    """Return an empty worker of queue q."""
    size = None if total is None else total * GIB
    return Room(
        worker=worker, queues=frozenset({"q"}), total_bytes=size, free_bytes=size, slots=slots,
        free_slots=slots,
    )  # fmt: skip


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
