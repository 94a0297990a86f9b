"""promote: make due jobs claimable."""

from __future__ import annotations

import pytest

from penstock.broker import requests as r
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .scene import OTHER, QUEUE, Scene, retry, snooze

ALL = 100
"""More jobs than any case has."""


def test_due_jobs_become_queued(scene: Scene) -> None:
    """Scheduled, snoozed and retrying jobs are promoted when they are due, and counted."""
    scheduled = scene.put(delay_ms=100)
    snoozed, retried = scene.put_many(2)
    first, second = scene.claim(scene.lease())
    scene.settle(snooze(first, delay_ms=100))
    scene.settle(retry(second, delay_ms=100))
    scene.harness.advance(100)
    assert scene.broker.promote([QUEUE], limit=ALL) == 3
    assert scene.states(scheduled, snoozed, retried) == [State.QUEUED] * 3


def test_jobs_are_not_promoted_before_they_are_due(scene: Scene) -> None:
    """One millisecond early nothing moves."""
    job_id = scene.put(delay_ms=100)
    scene.harness.advance(99)
    assert scene.broker.promote([QUEUE], limit=ALL) == 0
    assert scene.state(job_id) is State.SCHEDULED
    scene.harness.advance(1)
    assert scene.broker.promote([QUEUE], limit=ALL) == 1


def test_due_times_are_wall_time(scene: Scene) -> None:
    """A job that is due at an instant is due when the wall clock shows it."""
    job_id = scene.put(delay_ms=3_600_000)
    scene.harness.step_wall(3_600_000)
    assert scene.broker.promote([QUEUE], limit=ALL) == 1
    assert scene.state(job_id) is State.QUEUED


def test_the_earliest_due_go_first(scene: Scene) -> None:
    """What the limit leaves is due later than what it takes, over all queues."""
    jobs = {ms: scene.put(OTHER if ms % 2 else QUEUE, delay_ms=ms) for ms in (5, 2, 3, 4, 1)}
    scene.harness.advance(10)
    assert scene.broker.promote([QUEUE, OTHER], limit=3) == 3
    assert [ms for ms in range(1, 6) if scene.state(jobs[ms]) is State.QUEUED] == [1, 2, 3]
    assert scene.broker.promote([QUEUE, OTHER], limit=3) == 2
    assert scene.broker.promote([QUEUE, OTHER], limit=3) == 0


def test_only_the_named_queues_are_promoted(scene: Scene) -> None:
    """Other queues wait for their own."""
    mine, other = scene.put(QUEUE, delay_ms=1), scene.put(OTHER, delay_ms=1)
    scene.harness.advance(1)
    assert scene.broker.promote([QUEUE], limit=ALL) == 1
    assert scene.states(mine, other) == [State.QUEUED, State.SCHEDULED]
    assert scene.broker.promote([], limit=ALL) == 0


def test_blocked_jobs_are_not_promoted(scene: Scene) -> None:
    """A job that is due but waits for a parent stays blocked."""
    child = scene.put(after=(scene.in_state(State.SCHEDULED),), delay_ms=1)
    scene.harness.advance(5)
    assert scene.broker.promote([QUEUE], limit=ALL) == 0
    assert scene.state(child) is State.BLOCKED


def test_a_promoted_job_is_claimable_in_its_own_set(scene: Scene) -> None:
    """A promotion puts the job into the ready set that it needs."""
    scene.put(delay_ms=1, need="alone.m4")
    scene.harness.advance(1)
    scene.broker.promote([QUEUE], limit=ALL)
    assert scene.broker.needs([QUEUE])[QUEUE] == ["alone.m4"]


def test_a_limit_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """A limit outside 1..BATCH_MAX breaks the rule; BATCH_MAX is allowed."""
    scene.put(delay_ms=0)
    for limit in (0, -1, r.BATCH_MAX + 1):
        with pytest.raises(UsageError):
            scene.broker.promote([QUEUE], limit=limit)
    assert scene.broker.promote([QUEUE], limit=r.BATCH_MAX) == 0
