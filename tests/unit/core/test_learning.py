"""Reservations against runs that were made up: how many they hold, and what that wastes."""

from __future__ import annotations

import pytest

from tests.support.learning.app import BIMODAL
from tests.support.learning.replay import Score, by_task, score, together
from tests.support.learning.report import COVERAGE_LEAST, WASTE_MOST, made
from tests.support.learning.synthetic import TOLD, UNTOLD, Shape, runs_of
from tests.support.learning.trace import JUDGED, read

SEEDS = range(3)
RUNS = by_task(read(JUDGED)[1])


@pytest.mark.parametrize("task", sorted(RUNS.keys() - BIMODAL))
def test_no_recorded_task_is_far_from_what_is_promised(task: str) -> None:
    """Of 170 runs of a real task five are outside at most, at half of what they take on top."""
    found = score(RUNS[task])
    assert found.coverage >= 0.97, found
    assert found.waste <= 1.5, found


def test_sizes_are_worth_telling() -> None:
    """Over all of them less than half is wasted of what is without sizes."""
    sized, blind = (
        together(score(RUNS[task], hinted=hinted) for task in RUNS.keys() - BIMODAL)
        for hinted in (True, False)
    )
    assert sized.waste - 1 < (blind.waste - 1) / 2, (sized.waste, blind.waste)


def test_what_is_published_holds() -> None:
    """Of all recorded runs 99 in 100 fit, at 1.4 times of what they take; the report says so."""
    report = made(JUDGED)
    assert not report.misses, report.text()
    assert report.total.sized is not None
    assert report.total.sized.coverage >= COVERAGE_LEAST
    assert report.total.sized.waste <= WASTE_MOST
    assert report.tasks.keys() | report.others.keys() == RUNS.keys()
    assert all(f"| {task} |" in report.text() for task in RUNS)


def made_up(shape: Shape) -> Score:
    """Return the score of a shape."""
    return together(score(runs_of(shape, seed=seed)) for seed in SEEDS)


@pytest.mark.parametrize("shape", TOLD, ids=lambda shape: shape.__name__)
def test_reservations_cover_and_waste_little(shape: Shape) -> None:
    """With a size hint 99 of 100 runs fit, and 1.4 times of what they take is set aside."""
    found = made_up(shape)
    assert found.coverage >= COVERAGE_LEAST, found
    assert found.waste <= WASTE_MOST, found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", TOLD[:2], ids=lambda shape: shape.__name__)
def test_in_proportion_each_trace_holds_by_itself(shape: Shape, seed: int) -> None:
    """Where peaks grow with the size none of the traces is made up for by another."""
    found = score(runs_of(shape, seed=seed))
    assert found.coverage >= COVERAGE_LEAST, found
    assert found.waste <= WASTE_MOST, found


@pytest.mark.parametrize("shape", UNTOLD, ids=lambda shape: shape.__name__)
def test_what_no_size_tells_is_covered(shape: Shape) -> None:
    """Where the size says little, or there is none, 99 of 100 runs fit; what that costs is told."""
    assert made_up(shape).coverage >= COVERAGE_LEAST, made_up(shape)
