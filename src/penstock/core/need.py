"""Needs: the names of the ready sets in which queued jobs wait.

A queue's ready index is a few ordered sets, one per need, so that a worker names the sets it can
take and a claim costs the same at any backlog. Light work needs `shared`, any runner's coroutine
slot, or `thread`, any runner's thread slot. Work that is isolated needs `alone`; work with a
reservation `alone.m<class>`, with a size class in steps of 1.25 above 16 MiB. A worker whose budget
lies inside a class finds out by claiming whether a job of it fits; one that does not goes back as
`alone.m<class>.over<MiB>`, which says that it is larger than that. Work whose
reservation is learned needs `alone.auto.<task>.s<bucket>`; each worker knows what that comes to. A
retry may enter another set than the one its spec names. What needs more than that, as GPUs, has it
in front of its set's name (`core.demand`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from penstock.core.demand import NO_DEMAND, Demand, demand_of, has_demand, need_with, plain_need
from penstock.core.job import ALONE, SHARED, THREAD, Charges, JobSpec

#: Size class 0 ends here; below it a child process costs more than the job.
_CLASS_BASE_BYTES: Final = 16 * 2**20
#: Ratio of neighbouring classes (design.md §5): at most 25 % is reserved in vain.
_CLASS_STEP: Final = 1.25
_MIB: Final = 2**20
Q = TypeVar("Q")
_LEARNED: Final = re.compile(rf"{ALONE}\.auto\.([0-9a-f]{{12}})(?:\.s([0-9]{{1,5}}))?\Z")
_SIZED: Final = re.compile(rf"{ALONE}\.m([0-9]{{1,3}})(?:\.over([0-9]{{1,9}}))?\Z")


class Sizes(NamedTuple):
    """Which reservations the jobs of a set may have: above `over_bytes`, up to `most_bytes`."""

    over_bytes: int
    most_bytes: int


class Profile(NamedTuple):
    """Of which task jobs are, and in which bucket of sizes; `bucket` None: without a hint."""

    task_digest: str
    bucket: int | None


def task_digest(task: str) -> str:
    """Return how needs call a task: by 48 bits, since names may be long and of any kind."""
    return hashlib.blake2b(task.encode(), digest_size=6).hexdigest()


def learned_need(task: str, bucket: int | None) -> str:
    """Return the ready set of a task's jobs whose reservation is learned."""
    name = f"{ALONE}.auto.{task_digest(task)}"
    return name if bucket is None else f"{name}.s{bucket}"


def profile_of(need: str) -> Profile | None:
    """Return whose jobs wait in a set of learned reservations; None: it is none."""
    found = _LEARNED.match(plain_need(need))
    if found is None:
        return None
    return Profile(found[1], None if found[2] is None else int(found[2]))


def memory_class(reservation_bytes: int) -> int:
    """Return the smallest class whose upper bound holds `reservation_bytes`."""
    if reservation_bytes <= _CLASS_BASE_BYTES:
        return 0
    ratio = reservation_bytes / _CLASS_BASE_BYTES
    # Bound: the tiny slack keeps exact powers in their own class in spite of rounding.
    return math.ceil(math.log(ratio, _CLASS_STEP) - 1e-9)


def need_name(
    *,
    isolated: bool,
    memory_bytes: int | None,
    is_async: bool = True,
    demand: Demand = NO_DEMAND,
) -> str:
    """Return the ready set for a job: `shared`, `thread`, `alone` or `alone.m<class>`."""
    if memory_bytes is not None:
        return need_with(demand, sized_need(memory_bytes))
    if isolated or demand != NO_DEMAND:
        return need_with(demand, ALONE)
    return SHARED if is_async else THREAD


def sized_need(reservation_bytes: int, *, over_bytes: int = 0) -> str:
    """Return the ready set of a reservation.

    Args:
        reservation_bytes: what the job needs.
        over_bytes: the budget of a worker that could not hold it.
    """
    name = f"{ALONE}.m{memory_class(reservation_bytes)}"
    return f"{name}.over{over_bytes // _MIB}" if over_bytes >= _MIB else name


def sizes_of(need: str) -> Sizes | None:
    """Return which reservations wait in a set; None: its name says nothing of them."""
    found = _SIZED.match(plain_need(need))
    if found is None:
        return None
    number = int(found[1])
    # Bound: rounded up, so that no job of the class is larger.
    most = math.ceil(_CLASS_BASE_BYTES * _CLASS_STEP**number)
    over = 0 if number == 0 else math.floor(_CLASS_BASE_BYTES * _CLASS_STEP ** (number - 1))
    return Sizes(max(over, int(found[2] or 0) * _MIB), most)


def is_alone(need: str) -> bool:
    """Return whether jobs of this need run in a child process of their own."""
    return need.startswith(ALONE) or has_demand(need)


def wait_set(need: str) -> str:
    """Return the set at which those sleep who are to be woken by jobs of `need`.

    All that children run has one: who has children can take from most of their sets, and cannot
    name those that nobody has seen yet, as of an input of a new size.
    """
    return ALONE if is_alone(need) else need


def by_wait_set(fresh: Mapping[tuple[Q, str], int]) -> Counter[tuple[Q, str]]:
    """Return how many jobs became claimable, by (queue, `wait_set`)."""
    jobs: Counter[tuple[Q, str]] = Counter()
    for (queue, need), count in fresh.items():
        # Some sets have lost more than they got: that makes up for no other.
        jobs[queue, wait_set(need)] += max(0, count)
    return +jobs


def same_demand(plain: str, need: str) -> str:
    """Return the ready set `plain` for jobs that take what those of `need` take beside memory."""
    demand = demand_of(need)
    return plain if demand is None else need_with(demand, plain)


def runs_alone(spec: JobSpec, charges: Charges) -> bool:
    """Return whether the job's attempt runs alone in a child."""
    return charges.suspect or is_alone(spec.need)
