"""Reservations against runs that were made up: how many they hold, and what that wastes."""

from __future__ import annotations

import pytest

from tests.support.learning.replay import score
from tests.support.learning.synthetic import TOLD, UNTOLD, Shape, runs_of

#: Of the runs after the first ones, within their reservation.
COVERAGE_LEAST = 0.99
#: Reserved over taken, by time.
WASTE_MOST = 1.4
SEEDS = range(3)


@pytest.mark.parametrize("shape", TOLD, ids=lambda shape: shape.__name__)
def test_reservations_cover_and_waste_little(shape: Shape) -> None:
    """With a size hint 99 of 100 runs fit, and 1.4 times of what they take is set aside."""
    scores = [score(shape.__name__, runs_of(shape, seed=seed)) for seed in SEEDS]
    assert sum(one.covered for one in scores) >= COVERAGE_LEAST * sum(one.runs for one in scores)
    assert sum(one.waste for one in scores) <= WASTE_MOST * len(scores), scores


@pytest.mark.parametrize("shape", UNTOLD, ids=lambda shape: shape.__name__)
def test_what_no_size_tells_is_covered(shape: Shape) -> None:
    """Where the size says little, or there is none, 98 of 100 runs fit; what that costs is told."""
    scores = [score(shape.__name__, runs_of(shape, seed=seed)) for seed in SEEDS]
    assert sum(one.covered for one in scores) >= 0.98 * sum(one.runs for one in scores), scores
