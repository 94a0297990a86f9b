"""Ready sets and the place of a job in them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.job import ALONE, PRIORITY_MAX, SHARED, Charges, JobSpec
from penstock.core.names import check_name
from penstock.core.need import (
    is_alone,
    memory_class,
    need_name,
    runs_alone,
    sized_need,
    sizes_of,
)
from penstock.core.rank import rank_of

MIB = 2**20
SIZES = st.integers(0, 2**50)
INSTANTS = st.integers(0, 2**48 - 1)
PRIORITIES = st.integers(0, PRIORITY_MAX)


@given(size=SIZES)
def test_a_class_holds_its_size_and_wastes_little(size: int) -> None:
    """The bound of the class is not below the size, and that of the class before it is."""
    number = memory_class(size)
    bound = 16 * MIB * 1.25**number
    assert size <= bound * (1 + 1e-8)
    if number > 0:
        assert size > 16 * MIB * 1.25 ** (number - 1) * (1 - 1e-8)


@given(first=SIZES, second=SIZES)
def test_classes_rise_with_sizes(first: int, second: int) -> None:
    """A larger reservation is never in a smaller class."""
    if first <= second:
        assert memory_class(first) <= memory_class(second)


def test_bounds_of_classes_are_exact() -> None:
    """Up to 16 MiB is class 0; a byte more is class 1; a power of the step is in its own class."""
    assert [memory_class(n) for n in (0, 1, 16 * MIB, 16 * MIB + 1, 20 * MIB)] == [0, 0, 0, 1, 1]
    assert memory_class(25 * MIB) == 2


@pytest.mark.parametrize(
    ("isolated", "memory_bytes", "name"),
    [
        (False, None, SHARED),
        (True, None, ALONE),
        (False, 16 * MIB, "alone.m0"),
        (True, 20 * MIB, "alone.m1"),
    ],
)
def test_needs_have_names(isolated: bool, memory_bytes: int | None, name: str) -> None:  # noqa: FBT001 - a column of the table
    """Light work shares, isolated work is alone, declared memory adds its class."""
    assert need_name(isolated=isolated, memory_bytes=memory_bytes) == name
    assert check_name("need", name) == name
    assert is_alone(name) == (name != SHARED)


@pytest.mark.parametrize(
    ("need", "suspect", "alone"),
    [(SHARED, False, False), (SHARED, True, True), (ALONE, False, True), ("alone.m3", False, True)],
)
def test_suspects_run_alone(need: str, suspect: bool, alone: bool) -> None:  # noqa: FBT001 - columns of the table
    """An attempt is alone by its spec or because it is a suspect."""
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), need=need)
    assert runs_alone(spec, Charges(suspect=suspect)) == alone


@given(first=st.tuples(PRIORITIES, INSTANTS), second=st.tuples(PRIORITIES, INSTANTS))
def test_rank_is_priority_then_arrival(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Higher priority is lower rank; within one priority the earlier arrival is."""
    expected = (-first[0], first[1]) < (-second[0], second[1])
    assert (rank_of(*first) < rank_of(*second)) == expected


@given(priority=PRIORITIES, arrived_at=INSTANTS)
def test_a_rank_is_exact_in_a_double(priority: int, arrived_at: int) -> None:
    """52 bits at most, so that a store with floating point scores keeps the order."""
    rank = rank_of(priority, arrived_at)
    assert 0 <= rank < 2**52
    assert int(float(rank)) == rank


@given(size=st.integers(1, 2**45))
def test_a_set_tells_what_its_jobs_take(size: int) -> None:
    """The reservation lies within the sizes that the name of its set says."""
    sizes = sizes_of(sized_need(size))
    assert sizes is not None
    assert sizes.over_bytes < size <= sizes.most_bytes


@given(size=st.integers(2 * MIB, 2**45), budget=st.integers(MIB, 2**45))
def test_a_worker_that_gave_a_job_back_is_not_offered_it_again(size: int, budget: int) -> None:
    """The set names the budget, cut to whole MiB: none of that size or less looks into it."""
    if budget >= size:
        return
    sizes = sizes_of(sized_need(size, over_bytes=budget))
    assert sizes is not None
    assert sizes.over_bytes >= budget - budget % MIB
    assert sizes.over_bytes < size


@pytest.mark.parametrize("name", ["shared", "alone", "alone.x", "alone.m", "alone.m1.over", "m1"])
def test_other_sets_tell_nothing(name: str) -> None:
    """A name that another release may make is no size."""
    assert sizes_of(name) is None
