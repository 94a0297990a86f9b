"""Footprints: quantiles of what was measured, and reservations that hold the next run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.footprint import (
    HALF_LIFE_MS,
    Footprint,
    Run,
    bucket_bounds,
    size_bucket,
    tally_of,
    tally_of_growth,
)

MIB = 2**20
NOW = 1_790_000_000_000


def footprint(*peaks_mib: float, size: float | None = None) -> Footprint:
    """Return the footprint of runs with these peaks."""
    made = Footprint({})
    for peak in peaks_mib:
        made.add(tally_of(Run(round(peak * MIB), size, NOW)))
    return made


@given(peaks=st.lists(st.integers(1, 4_000), min_size=1, max_size=60), share=st.floats(0.01, 1.0))
def test_a_quantile_holds_its_share(peaks: list[int], share: float) -> None:
    """So many runs did not pass it, and it is at most a bin above one of them."""
    quantile = footprint(*peaks).quantile_bytes(share)
    assert quantile is not None
    held = sum(peak * MIB <= quantile for peak in peaks)
    assert held >= share * len(peaks) - 1e-6
    assert any(peak * MIB <= quantile <= peak * MIB * 1.051 + 2 for peak in peaks)


def test_few_runs_tell_nothing_and_then_little() -> None:
    """Below three there is no reservation; of few it is the largest and a quarter."""
    assert footprint(100, 100).reservation_bytes() is None
    few = footprint(100, 200, 100).reservation_bytes()
    assert few is not None
    assert 1.25 * 200 * MIB <= few <= 1.25 * 200 * MIB * 1.06


def test_old_runs_fade() -> None:
    """After ten half-lives a thousand large runs weigh as one does."""
    made = Footprint({})
    for _ in range(1_000):
        made.add(tally_of(Run(1_000 * MIB, None, NOW - 10 * HALF_LIFE_MS)))
    for _ in range(1_000):
        made.add(tally_of(Run(100 * MIB, None, NOW)))
    assert (made.quantile_bytes(0.99) or 0) < 110 * MIB
    assert made.runs() == 2_000


def test_sums_of_several_workers_add_up() -> None:
    """What was told by many is one footprint, whatever the order."""
    whole, parts = footprint(100, 200, 300), Footprint({})
    for peak in (300, 100, 200):
        parts.add(tally_of(Run(peak * MIB, None, NOW)))
    assert whole.quantile_bytes(0.9) == parts.quantile_bytes(0.9)
    foreign = {"n": 3.0, "p10": 1.0, "q7": 9.0, "s1x:p3": 4.0, "p99999999": 1.0, "": 2.0}
    assert Footprint(foreign).runs() == 3


def test_a_leak_is_the_mean_of_what_runs_leave() -> None:
    """What one run leaves and the next uses again is none; old runs fade; few tell nothing."""
    made = Footprint({})
    for growth in (2, -2, 2, -2):
        assert made.leak_bytes is None or abs(made.leak_bytes) <= MIB
        made.add(tally_of_growth(growth * MIB, NOW))
    assert made.leak_bytes == 0
    for _ in range(96):
        made.add(tally_of_growth(MIB, NOW))
    assert made.leak_bytes == round(0.96 * MIB)
    made.add(tally_of_growth(500 * MIB, NOW - 40 * HALF_LIFE_MS))
    assert made.leak_bytes == round(0.96 * MIB)
    assert made.runs() == 0, "it says nothing of peaks"
    assert min(tally_of_growth(-MIB, NOW).values()) > 0, "brokers add no negative amounts"


def test_what_is_added_counts_at_once() -> None:
    """A reservation that was asked for before is another one after a larger run."""
    made = footprint(100, 100, 100, size=50.0)
    bucket = size_bucket(50.0)
    before = made.reservation_bytes(bucket) or 0
    assert made.reservation_bytes(bucket) == before
    made.add(tally_of(Run(200 * MIB, 50.0, NOW)))
    assert (made.reservation_bytes(bucket) or 0) > 1.5 * before


def test_sums_without_counts_are_no_runs() -> None:
    """Where only parts of what was told have come, nothing is made of them."""
    made = Footprint({"s3:p90": 1.0, "s4:p95": 1.0, "s5:n": 4.0})
    assert made.reservation_bytes(4) is None


@given(size=st.floats(0, 1e15, allow_nan=False))
def test_buckets_hold_their_sizes(size: float) -> None:
    """A size lies within the bounds of its bucket, which are 19 % apart."""
    bucket = size_bucket(size)
    assert bucket is not None
    low, high = bucket_bounds(bucket)
    assert low <= size * (1 + 1e-8)
    assert size < high * (1 + 1e-8)


def test_a_new_size_is_told_from_its_neighbours() -> None:
    """From a smaller one in proportion, from a larger one as it is."""
    made = Footprint({})
    for size in (1_000.0, 8_000.0):
        for _ in range(5):
            made.add(tally_of(Run(round(size / 10) * MIB, size, NOW)))
    known = {size: made.reservation_bytes(size_bucket(size)) or 0 for size in (1_000.0, 8_000.0)}
    between = made.reservation_bytes(size_bucket(2_000.0)) or 0
    assert known[1_000.0] < between <= known[8_000.0]
    assert made.telling(size_bucket(2_000.0)) == 10, "both are asked"
    assert (made.telling(), made.runs(size_bucket(2_000.0))) == (10, 0)
    beyond = made.reservation_bytes(size_bucket(16_000.0)) or 0
    assert beyond >= 1.6 * known[8_000.0]
