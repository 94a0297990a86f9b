"""The checker against eleven planted defects: a suite that misses one proves nothing by passing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.planted import PLANTED, Planted
from tests.support.checker import assert_holds, check, report
from tests.support.simulation.run import Run, simulate

#: Seeds tried until a defect shows itself; each is a run of about a tenth of a second.
SEEDS = range(40)


def play(planted: Planted, seed: int) -> Run:
    """Return the run of one seed with the defect in place."""
    return simulate(seed, make_engine=planted.engine, make_worker=planted.worker)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_planted_bug_is_caught_by_a_seed_that_replays(planted: Planted) -> None:
    """Each defect violates an invariant made for it, and its seed gives the same evidence again."""
    for seed in SEEDS:
        run = play(planted, seed)
        violations = check(run.events, run.dump)
        if planted.caught_by & {violation.invariant for violation in violations}:
            break
    else:
        pytest.fail(f"{planted.name} went unseen by all of {SEEDS}")
    print(report(violations, f"of {planted.name}, seed {seed}"))  # noqa: T201 - shown with -s and on failure
    again = play(planted, seed)
    assert again.events == run.events
    assert check(again.events, again.dump) == violations
    healthy = simulate(seed)
    assert_holds(healthy.events, healthy.dump, context=f"without a defect, seed {seed}")


@pytest.mark.timeout(600)
def test_sound_engine_passes(count: Callable[[int, int], int]) -> None:
    """Without a defect no seed gives a violation: the checker accuses nobody wrongly."""
    for seed in range(1_000, 1_000 + count(15, 1_000)):
        run = simulate(seed)
        assert_holds(run.events, run.dump, context=f"seed {seed}")
