"""How many workers a backlog asks for, look by look."""

from __future__ import annotations

import pytest

from penstock.core.autoscale import CALM_LOOKS, Backlog, Scale, ScaleState, asked_for, next_state

GIB = 2**30
SCALE = Scale(least=1, most=8, jobs_per_worker=50, bytes_per_worker=4 * GIB, slots=2)


@pytest.mark.parametrize(
    ("backlog", "count"),
    [
        (Backlog(), 1),
        (Backlog(queued=50), 1),
        (Backlog(queued=51), 2),
        (Backlog(queued=100_000), 8),
        (Backlog(queued=3, queued_bytes=9 * GIB), 3),
        (Backlog(running=5), 3),
        (Backlog(queued=51, queued_bytes=20 * GIB, running=2), 5),
    ],
)
def test_the_largest_of_jobs_bytes_and_held_slots_decides(backlog: Backlog, count: int) -> None:
    """So many workers that jobs, bytes and what runs have room; never outside the bounds."""
    assert asked_for(backlog, SCALE) == count


def test_none_may_run_where_nothing_waits_or_runs() -> None:
    """With least 0 the last worker stays for as long as a job runs, whatever its slots are."""
    scale = Scale(least=0, most=2, jobs_per_worker=10)
    assert asked_for(Backlog(), scale) == 0
    assert asked_for(Backlog(running=30), scale) == 1
    assert asked_for(Backlog(queued=1, queued_bytes=10**15), scale) == 1


def test_up_at_once_but_at_most_to_twice_as_many() -> None:
    """A burst is met within a few looks, without starting all workers on one figure."""
    state, counts = ScaleState(0), []
    for _ in range(5):
        state = next_state(state, Backlog(queued=10_000), SCALE)
        counts.append(state.count)
    assert counts == [1, 2, 4, 8, 8]


def test_down_by_one_after_a_calm() -> None:
    """One worker goes after so many looks at which fewer would do; then the count begins anew."""
    state, counts = ScaleState(3), []
    for _ in range(2 * CALM_LOOKS + 1):
        state = next_state(state, Backlog(), SCALE)
        counts.append(state.count)
    assert counts == [3] * (CALM_LOOKS - 1) + [2] * CALM_LOOKS + [1, 1]


def test_a_backlog_that_swings_about_a_bound_stops_nobody() -> None:
    """A single look that asks for as many as there are ends the calm."""
    state = ScaleState(2)
    for look in range(10 * CALM_LOOKS):
        swing = 60 if look % CALM_LOOKS == 0 else 40
        state = next_state(state, Backlog(queued=swing), SCALE)
        assert state.count == 2
