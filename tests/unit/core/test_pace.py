"""Paces: what a task's runs were like, and what follows from them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.footprint import HALF_LIFE_MS, Footprint
from penstock.core.pace import Kind, Latest, Pace, pace_sums, tells_pace

NOW = 1_790_000_000_000
LIGHT_MS = 500.0


def pace(*runs: tuple[float, float], side_by_side: int = 1, at_ms: int = NOW) -> Pace:
    """Return the pace of runs given as (run time, processor time) in milliseconds."""
    made = Pace({})
    for run_ms, cpu_ms in runs:
        made.add(pace_sums(run_ms, cpu_ms, side_by_side=side_by_side, at_ms=at_ms))
    return made


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        ((2.0, 1.0), Kind.LIGHT),
        ((450.0, 449.0), Kind.LIGHT),
        ((3_000.0, 2_900.0), Kind.BUSY),
        ((3_000.0, 100.0), Kind.LONG),
    ],
)
def test_a_task_is_what_its_runs_were(run: tuple[float, float], kind: Kind) -> None:
    """Short, long at rest, or long at work; three runs are enough, two are not."""
    assert pace(run, run, run).kind(LIGHT_MS) is kind
    assert pace(run, run).kind(LIGHT_MS) is Kind.UNKNOWN


def test_neighbours_do_not_hide_that_a_task_holds_the_cpu() -> None:
    """Two that hold it side by side get half of it each, and last twice as long."""
    runs = [(6_000.0, 2_900.0)] * 3
    assert pace(*runs).kind(LIGHT_MS) is Kind.LONG
    assert pace(*runs, side_by_side=2).kind(LIGHT_MS) is Kind.BUSY


def test_a_rare_long_run_does_not_make_a_task_long() -> None:
    """One in a hundred may last; one in ten may not."""
    short, long = (10.0, 1.0), (5_000.0, 10.0)
    assert pace(*[short] * 99, long).kind(LIGHT_MS) is Kind.LIGHT
    assert pace(*[short] * 9, long).kind(LIGHT_MS) is Kind.LONG


def test_a_task_that_became_short_is_light_again() -> None:
    """Old runs fade."""
    made = pace(*[(5_000.0, 10.0)] * 20)
    for _ in range(20):
        later = NOW + 10 * HALF_LIFE_MS
        made.add(pace_sums(10.0, 1.0, side_by_side=1, at_ms=later))
    assert made.kind(LIGHT_MS) is Kind.LIGHT


def told(*runs: tuple[float, float]) -> dict[str, float]:
    """Return the sums of runs that a runner tells together."""
    sums: Counter[str] = Counter()
    for run_ms, cpu_ms in runs:
        sums.update(pace_sums(run_ms, cpu_ms, side_by_side=1, at_ms=NOW))
    return dict(sums)


@pytest.mark.parametrize(
    ("long", "kind"), [((5_000.0, 10.0), Kind.LONG), ((5_000.0, 4_900.0), Kind.BUSY)]
)
def test_a_task_that_turned_heavy_overnight_leaves_the_lane(
    long: tuple[float, float], kind: Kind
) -> None:
    """Three long runs are enough, however many were light before; two are not."""
    latest = Latest()
    for _ in range(1_000):
        latest.add(told((10.0, 1.0)))
    latest.add(told(long))
    latest.add(told(long))
    assert latest.kind(Kind.LIGHT, LIGHT_MS) is Kind.LIGHT
    latest.add(told(long))
    assert latest.kind(Kind.LIGHT, LIGHT_MS) is kind
    for _ in range(60):
        latest.add(told((10.0, 1.0)))
    assert latest.kind(Kind.LIGHT, LIGHT_MS) is Kind.LIGHT, "they are of the past"


def test_the_latest_runs_make_no_task_lighter_and_rare_long_ones_none_heavier() -> None:
    """What is known of all runs stands otherwise; three in a thousand are rare."""
    latest = Latest()
    latest.add(told(*[(10.0, 1.0)] * 1_000, *[(5_000.0, 10.0)] * 3))
    for known in Kind:
        assert latest.kind(known, LIGHT_MS) is known


@given(runs=st.lists(st.floats(0.0, 1e7), min_size=1, max_size=50), share=st.floats(0.01, 1.0))
def test_a_quantile_holds_its_share(runs: list[float], share: float) -> None:
    """So many runs did not last longer."""
    quantile = pace(*((run, 0.0) for run in runs)).quantile_ms(share)
    assert quantile is not None
    assert sum(run <= quantile * (1 + 1e-9) for run in runs) >= share * len(runs) - 1e-6


def test_sums_of_others_are_left_out() -> None:
    """A footprint's sums, nonsense and what is not finite: none of it is a run."""
    made = Pace({"n": 5.0, "p3": 1.0, "r:x": 1.0, "r:t99999": 1.0, "r:n": float("nan")})
    assert (made.runs, made.quantile_ms(0.5)) == (0, None)
    sums = pace_sums(10.0, 1.0, side_by_side=1, at_ms=NOW)
    assert Footprint(sums).runs() == 0


@pytest.mark.parametrize(
    ("run_ms", "went_well", "tells"),
    [(1.0, True, True), (900.0, True, True), (1.0, False, False), (900.0, False, True)],
)
def test_a_failure_can_tell_that_a_task_is_long_and_not_that_it_is_light(
    run_ms: float, *, went_well: bool, tells: bool
) -> None:
    """It would have lasted longer, nobody knows how much."""
    assert tells_pace(run_ms, 500.0, went_well=went_well) is tells
