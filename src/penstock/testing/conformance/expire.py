"""expire: end jobs that waited past their deadline."""

from __future__ import annotations

import pytest

from penstock.broker import requests as r
from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import FINAL, WAITING, State
from penstock.errors import UsageError

from .scene import OTHER, QUEUE, Scene, complete, release

ALL = 100
"""More jobs than any case has."""


def test_a_job_expires_in_every_waiting_state(scene: Scene) -> None:
    """Blocked, scheduled, queued or retrying: past its deadline the job is expired."""
    for state in sorted(WAITING):
        job_id = scene.in_state(state, expires_ms=500)
        scene.harness.advance(500)
        assert scene.broker.expire([QUEUE], limit=ALL) == 1, state
        record = scene.record(job_id)
        assert (record.state, record.reason) == (State.EXPIRED, Reason.DEADLINE), state
        assert record.finished_at == scene.harness.wall_ms()


def test_a_job_does_not_expire_before_its_deadline(scene: Scene) -> None:
    """One millisecond early it waits on; at the deadline it ends."""
    job_id = scene.put(expires_ms=500)
    scene.harness.advance(499)
    assert scene.broker.expire([QUEUE], limit=ALL) == 0
    assert scene.state(job_id) is State.QUEUED
    scene.harness.advance(1)
    assert scene.broker.expire([QUEUE], limit=ALL) == 1


def test_a_job_without_a_deadline_never_expires(scene: Scene) -> None:
    """No `expires_ms`, no end of waiting."""
    job_id = scene.put()
    scene.harness.advance(10**10)
    assert scene.broker.expire([QUEUE], limit=ALL) == 0
    assert scene.state(job_id) is State.QUEUED


def test_a_running_job_does_not_expire(scene: Scene) -> None:
    """Deadlines are for waiting; what runs may finish, and what comes back is late again."""
    job = scene.run(scene.put(expires_ms=500))
    released = scene.run(scene.put(expires_ms=500))
    scene.harness.advance(1_000)
    assert scene.broker.expire([QUEUE], limit=ALL) == 0
    scene.broker.settle([complete(job), release(released)])
    assert scene.broker.expire([QUEUE], limit=ALL) == 1
    assert scene.states(job.id, released.id) == [State.COMPLETED, State.EXPIRED]


def test_a_final_job_does_not_expire(scene: Scene) -> None:
    """An end is an end: no final job changes its state or its reason."""
    jobs = [scene.in_state(state, expires_ms=500) for state in sorted(FINAL)]
    before = [scene.record(job_id) for job_id in jobs]
    scene.harness.advance(1_000)
    assert scene.broker.expire([QUEUE], limit=ALL) == 0
    assert [scene.record(job_id) for job_id in jobs] == before


def test_an_expired_job_is_not_handed_out(scene: Scene) -> None:
    """Once expired it stands in no ready set."""
    scene.put(expires_ms=1)
    scene.harness.advance(1)
    scene.broker.expire([QUEUE], limit=ALL)
    assert scene.broker.needs([QUEUE])[QUEUE] == []
    assert scene.claim(scene.lease()) == ()


def test_the_earliest_deadlines_go_first(scene: Scene) -> None:
    """What the limit leaves had a later deadline than what it takes, over all queues."""
    jobs = {ms: scene.put(OTHER if ms % 2 else QUEUE, expires_ms=ms) for ms in (5, 2, 3, 4, 1)}
    scene.harness.advance(10)
    assert scene.broker.expire([QUEUE, OTHER], limit=3) == 3
    assert [ms for ms in range(1, 6) if scene.state(jobs[ms]) is State.EXPIRED] == [1, 2, 3]
    assert scene.broker.expire([QUEUE, OTHER], limit=3) == 2


def test_only_the_named_queues_are_expired(scene: Scene) -> None:
    """Other queues keep theirs."""
    mine, other = scene.put(QUEUE, expires_ms=1), scene.put(OTHER, expires_ms=1)
    scene.harness.advance(1)
    assert scene.broker.expire([QUEUE], limit=ALL) == 1
    assert scene.states(mine, other) == [State.EXPIRED, State.QUEUED]
    assert scene.broker.expire([], limit=ALL) == 0


def test_children_follow_as_their_edge_says(scene: Scene) -> None:
    """An expired parent cancels a child, and its children, or is ignored."""
    parent = scene.put(expires_ms=10)
    child = scene.put(after=(parent,))
    grandchild = scene.put(after=(child,))
    spared = scene.put(after=(Parent(parent, ignore_failure=True),))
    later = scene.put(after=(Parent(parent, ignore_failure=True),), delay_ms=1_000)
    scene.harness.advance(10)
    assert scene.broker.expire([QUEUE], limit=ALL) == 1
    assert scene.states(child, grandchild) == [State.CANCELLED] * 2
    assert scene.record(grandchild).reason is Reason.PARENT_FAILED
    assert scene.states(spared, later) == [State.QUEUED, State.SCHEDULED]


def test_a_family_past_its_deadlines_ends_whole(scene: Scene) -> None:
    """When parent and child are both too late each ends once, whichever comes first."""
    parent = scene.put(expires_ms=20)
    early = scene.put(after=(parent,), expires_ms=10)
    late = scene.put(after=(parent,), expires_ms=30)
    scene.harness.advance(50)
    scene.broker.expire([QUEUE], limit=ALL)
    assert scene.states(parent, early, late) == [State.EXPIRED, State.EXPIRED, State.CANCELLED]


def test_a_late_child_that_its_parent_unblocks_expires_once(scene: Scene) -> None:
    """A child that ignores its parent's failure moves twice in one call, and is counted once."""
    parent = scene.put(expires_ms=10)
    child = scene.put(after=(Parent(parent, ignore_failure=True),), expires_ms=20)
    delayed = scene.put(
        after=(Parent(parent, ignore_failure=True),), expires_ms=20, delay_ms=60_000
    )
    scene.harness.advance(50)
    assert scene.broker.expire([QUEUE], limit=ALL) == 3
    assert scene.states(parent, child, delayed) == [State.EXPIRED] * 3
    assert scene.counts().expired == 3


def test_a_limit_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """A limit outside 1..BATCH_MAX breaks the rule; BATCH_MAX is allowed."""
    for limit in (0, r.BATCH_MAX + 1):
        with pytest.raises(UsageError):
            scene.broker.expire([QUEUE], limit=limit)
    assert scene.broker.expire([QUEUE], limit=r.BATCH_MAX) == 0
