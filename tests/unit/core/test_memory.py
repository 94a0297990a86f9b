"""Limits, enlarged reservations, and what counts as out of memory."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.job import Charges, JobSpec
from penstock.core.memory import (
    Evidence,
    declared_bytes,
    enlarged_bytes,
    evidence_text,
    hard_limit_bytes,
    is_bystander,
    limit_bytes,
)

MIB = 2**20
GIB = 2**30
CALM = Evidence(
    mark=False, raised=False, killed_by=None, kernel_ooms=0, peak_bytes=0, limit_bytes=GIB
)


def test_limits_lie_above_reservations() -> None:
    """By a tenth, and by 32 MiB at least."""
    assert limit_bytes(64 * MIB) == 96 * MIB
    assert limit_bytes(10 * GIB) == 11 * GIB


def test_the_kernel_stops_a_job_above_its_limit() -> None:
    """By a twentieth, and by 16 MiB at least; not where there is no limit."""
    assert hard_limit_bytes(96 * MIB) == 112 * MIB
    assert hard_limit_bytes(10 * GIB) == round(10.5 * GIB)
    assert hard_limit_bytes(None) is None


def test_what_was_given_since_wins() -> None:
    """An enlarged reservation stands before the one that the call declared."""
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), memory_bytes=5)
    assert declared_bytes(spec, Charges()) == 5
    assert declared_bytes(spec, Charges(memory_bytes=7)) == 7
    assert declared_bytes(msgspec.structs.replace(spec, memory_bytes=None), Charges()) is None


@given(reserved=st.integers(1, 2**45), largest=st.none() | st.integers(1, 2**45))
def test_reservations_grow_up_to_the_largest_worker(reserved: int, largest: int | None) -> None:
    """By half, never past it; there is none beyond it."""
    grown = enlarged_bytes(reserved, largest)
    if largest is not None and reserved >= largest:
        assert grown is None
    else:
        assert grown is not None
        assert reserved <= grown <= round(1.5 * reserved)
        assert largest is None or grown <= largest


@pytest.mark.parametrize(
    ("seen", "is_one"),
    [
        (CALM, False),
        (CALM._replace(group_kills=1, peak_bytes=GIB // 2), True),
        (CALM._replace(group_kills=1, peak_bytes=GIB), False),
        (CALM._replace(group_kills=1, peak_bytes=GIB // 2, mark=True), True),
        (CALM._replace(group_kills=1, peak_bytes=GIB + 1, mark=True), False),
        (CALM._replace(group_kills=1, peak_bytes=GIB // 2, was_bystander=True), False),
        (CALM._replace(group_kills=1, peak_bytes=GIB // 2, raised=True), False),
        (CALM._replace(group_kills=1, peak_bytes=GIB // 2, at_own_limit=True), False),
        (CALM._replace(group_kills=1, limit_bytes=None), False),
        (CALM._replace(killed_by=9, kernel_ooms=1, peak_bytes=GIB // 2), True),
        (CALM._replace(killed_by=9, peak_bytes=GIB // 2), False),
        (CALM._replace(killed_by=9, kernel_ooms=1, group_kills=0), False),
    ],
)
def test_who_is_killed_within_its_limit_is_a_bystander(seen: Evidence, *, is_one: bool) -> None:
    """The memory that ran out was not its own: once it goes back, and nothing is charged."""
    assert is_bystander(seen) == is_one


@pytest.mark.parametrize(
    ("seen", "counts"),
    [
        (CALM, False),
        (CALM._replace(mark=True), True),
        (CALM._replace(raised=True), True),
        (CALM._replace(killed_by=11, peak_bytes=2 * GIB, kernel_ooms=1), False),
        (CALM._replace(killed_by=9), False),
        (CALM._replace(killed_by=9, peak_bytes=int(0.89 * GIB)), False),
        (CALM._replace(killed_by=9, peak_bytes=int(0.91 * GIB)), True),
        (CALM._replace(killed_by=9, peak_bytes=GIB, limit_bytes=None), False),
        (CALM._replace(killed_by=9, kernel_ooms=1, limit_bytes=None), True),
        (CALM._replace(group_kills=1), True),
        (CALM._replace(group_kills=1, peak_bytes=GIB // 2, was_bystander=True), True),
        (CALM._replace(killed_by=9, kernel_ooms=1, was_bystander=True), True),
        (CALM._replace(killed_by=9, was_bystander=True), False),
        (CALM._replace(group_kills=0), False),
        (CALM._replace(group_kills=0, mark=True), True),
        (CALM._replace(group_kills=0, killed_by=9, kernel_ooms=1, peak_bytes=GIB), False),
    ],
)
def test_only_evidence_makes_it_out_of_memory(seen: Evidence, *, counts: bool) -> None:
    """Our own mark, MemoryError, a kill near the limit or beside one of the kernel's; no other.

    A group counts the kernel's kills in it, so that nothing is left to be guessed.
    """
    assert (evidence_text(seen) is not None) == counts
