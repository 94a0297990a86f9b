"""What runs of other sizes tell of one: how far they reach, and how they are carried over."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.neighbours import BIN_STEP, told_of

Bins = dict[int, dict[int, float]]


def bin_of(peak: float) -> int:
    """Return the bin of a peak."""
    return round(math.log(peak, BIN_STEP))


def told(bucket: int, bins: Bins) -> tuple[float, int]:
    """Return the largest peak that is told, and by how many runs; each weighs 1."""
    runs = {one: round(sum(found.values())) for one, found in bins.items()}
    found = told_of(bucket, bins, runs)
    assert [*found.peaks] == sorted(found.peaks)
    assert sum(weight for _, weight in found.peaks) == pytest.approx(found.runs)
    return math.pow(BIN_STEP, found.peaks[-1][0]), found.runs


def size_of(bucket: int) -> float:
    """Return a size in the middle of a bucket, but for a factor."""
    return math.exp2(bucket / 4)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("bucket", [13, 24])
def test_a_power_of_the_size_is_found(power: float, bucket: int) -> None:
    """A size between or above those that ran is told within a few bins, once growth is seen."""
    bins = {one: {bin_of(1_000 * size_of(one) ** power): 5.0} for one in (6, 8, 10, 16, 18, 20)}
    peak, runs = told(bucket, bins)
    assert runs >= 10
    expected = 1_000 * size_of(bucket) ** power
    assert expected / 1.1 <= peak <= expected * 1.3, (peak, expected)


def test_what_the_interpreter_takes_counts_less_above() -> None:
    """Beyond the sizes that ran the rest of a peak is taken to grow in proportion."""
    bins = {one: {bin_of(1_000 + 60 * size_of(one)): 3.0} for one in range(4, 18)}
    peak, _ = told(21, bins)
    expected = 1_000 + 60 * size_of(21)
    assert expected / 1.1 <= peak <= 1.3 * expected


def test_far_runs_are_carried_no_farther_than_the_largest_by_a_line() -> None:
    """A large input a little beyond one that ran is told by that one, not by many small ones."""
    bins = {one: {bin_of(1_000 + 60 * size_of(one)): 2.0} for one in (2, 3, 4, 5, 6, 20)}
    peak, runs = told(21, bins)
    assert runs > 2, "small ones are asked, for want of others"
    assert peak <= 1.3 * (1_000 + 60 * size_of(21))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_below_all_that_ran_nothing_is_less(power: float) -> None:
    """A size smaller than all that ran takes what the smallest took: an interpreter at least."""
    bins = {one: {bin_of(1_000 * size_of(one) ** power): 5.0} for one in (10, 11, 12, 13, 14)}
    smallest = 1_000 * size_of(10) ** power
    assert told(2, bins)[0] == pytest.approx(smallest, rel=0.1)


def test_before_growth_is_known_nothing_is_told_too_low() -> None:
    """Of one size: a larger input takes more in proportion, a smaller one as much."""
    bins: Bins = {12: {100: 5.0}}
    assert told(16, bins)[0] == pytest.approx(2 * BIN_STEP**100, rel=0.01)
    assert told(8, bins)[0] == pytest.approx(BIN_STEP**100)


def test_its_own_runs_are_enough_once_there_are_twenty() -> None:
    """Neighbours are not asked then; before, the nearest are, and no farther than needed."""
    others: Bins = {11: {300: 9.0}, 13: {300: 9.0}, 20: {400: 50.0}}
    peak, runs = told(12, {**others, 12: {100: 20.0}})
    assert (round(peak), runs) == (round(BIN_STEP**100), 20)
    assert told(12, {**others, 12: {100: 19.0}})[1] == 37
    assert told(12, {11: {100: 8.0}, 20: {400: 50.0}})[1] == 8, "the next is an octave on"
    assert told(12, {11: {100: 7.0}, 20: {400: 50.0}})[1] == 57


def test_one_bad_run_tilts_nothing() -> None:
    """A run of thirty times as much changes what is told of other sizes by no more than itself."""
    bins: Bins = {one: {100 + one: 3.0} for one in range(30)}
    bad = {**bins, 20: {120: 2.0, 190: 1.0}}
    assert told(5, bad) == told(5, bins)
    good, bent = (told_of(18, one, dict.fromkeys(range(30), 3)).peaks for one in (bins, bad))
    assert {round(place) for place, _ in good} == {118}
    assert [round(place) for place, weight in bent if weight == 1.0] == [188]
    assert {round(place) for place, weight in bent if weight > 1.0} == {118}


@given(
    bins=st.dictionaries(
        st.integers(0, 60),
        st.dictionaries(st.integers(0, 250), st.floats(1e-3, 1e9), min_size=1, max_size=4),
        min_size=1,
        max_size=12,
    ),
    bucket=st.integers(0, 80),
)
def test_whatever_ran_something_is_told(bins: Bins, bucket: int) -> None:
    """For any runs and weights the peaks that are told are those of the nearest, and are finite."""
    found = told_of(bucket, bins, dict.fromkeys(bins, 2))
    assert 2 <= found.runs <= 2 * len(bins)
    assert sum(map(len, bins.values())) >= len(found.peaks) > 0
    assert all(math.isfinite(place) for place, _ in found.peaks)
    if bucket in bins:
        assert set(bins[bucket].items()) <= set(found.peaks)


def test_nothing_tells_nothing() -> None:
    """Without any run no peak is told."""
    assert told_of(3, {}, {}) == ([], 0)
