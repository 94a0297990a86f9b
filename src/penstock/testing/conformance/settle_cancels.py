"""settle: jobs whose cancel was requested, and what follows for children."""

from __future__ import annotations

from penstock.core import settlement as s
from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import State

from .scene import OTHER, QUEUE, Scene, bury, complete, discard, release, retry, snooze


def test_a_requested_cancel_wins_over_going_on(scene: Scene) -> None:
    """Retry, snooze and release of a job whose cancel was requested are written as cancelled."""
    for kind in (retry, snooze, release):
        job = scene.run(scene.put())
        scene.broker.cancel([job.id])
        assert scene.settle(kind(job)) is s.Applied.CANCELLED, kind
        record = scene.record(job.id)
        assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR), kind
        assert record.finished_at == scene.harness.wall_ms()
        assert not record.cancel_requested
        assert record.attempts[-1].ended_at is not None


def test_a_requested_cancel_does_not_undo_an_end(scene: Scene) -> None:
    """A job that completed, died or was discarded first ends as it did."""
    ends = ((complete, State.COMPLETED), (bury, State.DEAD), (discard, State.CANCELLED))
    for kind, state in ends:
        job = scene.run(scene.put())
        scene.broker.cancel([job.id])
        assert scene.settle(kind(job)) is s.Applied.APPLIED, kind
        assert scene.state(job.id) is state
        assert not scene.record(job.id).cancel_requested


def test_the_last_parents_completion_unblocks(scene: Scene) -> None:
    """A child waits for all its parents, then it is queued."""
    first, second = scene.put(QUEUE), scene.put(OTHER)
    child = scene.put(after=(first, second))
    scene.complete(scene.run(first))
    assert scene.record(child).parents_left == 1
    assert scene.state(child) is State.BLOCKED
    scene.complete(scene.run(second))
    assert scene.state(child) is State.QUEUED


def test_two_parents_in_one_batch_unblock_once(scene: Scene) -> None:
    """Both parents settled in one call count the child down to nothing, and it is queued once."""
    parents = scene.put_many(2)
    child = scene.put(after=tuple(parents))
    scene.broker.settle([complete(job) for job in scene.claim(scene.lease())])
    assert scene.state(child) is State.QUEUED
    assert scene.counts().queued == 1


def test_an_unblocked_job_that_is_due_later_is_scheduled(scene: Scene) -> None:
    """A delay counts from enqueue: what is left of it is waited for after the parents."""
    parent = scene.put()
    child = scene.put(after=(parent,), delay_ms=1_000)
    due_at = scene.harness.wall_ms() + 1_000
    scene.harness.advance(400)
    scene.complete(scene.run(parent))
    record = scene.record(child)
    assert (record.state, record.due_at) == (State.SCHEDULED, due_at)


def test_an_unblocked_job_whose_delay_is_over_is_queued(scene: Scene) -> None:
    """A delay that ended while the parents ran is not waited for again."""
    parent = scene.put()
    child = scene.put(after=(parent,), delay_ms=1_000)
    scene.harness.advance(1_000)
    scene.complete(scene.run(parent))
    assert scene.state(child) is State.QUEUED


def test_a_parents_failure_cancels(scene: Scene) -> None:
    """A parent that ends dead or cancelled cancels its children, whatever else they wait for."""
    for kind in (bury, discard):
        parent = scene.put()
        child = scene.put(after=(parent, scene.in_state(State.SCHEDULED)))
        scene.settle(kind(scene.run(parent)))
        record = scene.record(child)
        assert (record.state, record.reason) == (State.CANCELLED, Reason.PARENT_FAILED), kind
        assert record.finished_at == scene.harness.wall_ms()


def test_a_parents_failure_counts_as_finished_where_it_is_ignored(scene: Scene) -> None:
    """On an ignoring edge the child is counted down as after a completion."""
    parent, second = scene.put(priority=9), scene.put(delay_ms=60_000)
    edge = Parent(parent, ignore_failure=True)
    alone, both = scene.put(after=(edge,)), scene.put(after=(edge, second))
    scene.bury(scene.run(parent))
    assert scene.state(alone) is State.QUEUED
    record = scene.record(both)
    assert (record.state, record.parents_left) == (State.BLOCKED, 1)


def test_a_failure_reaches_all_descendants(scene: Scene) -> None:
    """Grandchildren fall with their parents; an ignoring edge stops the fall."""
    first = scene.put()
    child = scene.put(after=(first,))
    grandchild = scene.put(OTHER, after=(child,))
    spared = scene.put(after=(Parent(child, ignore_failure=True),))
    scene.bury(scene.run(first))
    assert scene.states(child, grandchild, spared) == [
        State.CANCELLED,
        State.CANCELLED,
        State.QUEUED,
    ]
    assert scene.record(grandchild).reason is Reason.PARENT_FAILED


def test_a_failure_reaches_through_a_diamond_once(scene: Scene) -> None:
    """A job below two fallen parents is cancelled once, and counted once."""
    first = scene.put()
    left, right = scene.put(after=(first,)), scene.put(after=(first,))
    bottom = scene.put(after=(left, right))
    scene.bury(scene.run(first))
    assert scene.states(left, right, bottom) == [State.CANCELLED] * 3
    assert scene.counts().cancelled == 3


def test_a_failure_reaches_a_descendant_by_ways_of_two_lengths_once(scene: Scene) -> None:
    """A job below a child and below that child's child ends once, whichever way is taken first."""
    first = scene.put()
    child = scene.put(after=(first,))
    grandchild = scene.put(after=(child,))
    scene.put(after=(child, grandchild))
    scene.bury(scene.run(first))
    counts = scene.counts()
    assert (counts.dead, counts.cancelled, counts.blocked) == (1, 3, 0)


def test_a_failure_reaches_down_a_long_chain(scene: Scene) -> None:
    """A chain of a thousand jobs falls in one settlement."""
    requests = [scene.job()]
    for _ in range(999):
        requests.append(scene.job(after=(requests[-1].id,)))
    scene.accept(*requests[:500])
    scene.accept(*requests[500:])
    scene.bury(scene.run(requests[0].id))
    counts = scene.counts()
    assert (counts.dead, counts.cancelled, counts.blocked) == (1, 999, 0)


def test_a_parent_releases_many_children(scene: Scene) -> None:
    """A parent of three hundred children unblocks them all in one settlement."""
    parent = scene.put()
    scene.put_many(300, after=(parent,))
    scene.complete(scene.run(parent))
    assert (scene.counts().queued, scene.counts().blocked) == (300, 0)


def test_an_attempt_that_goes_on_tells_the_children_nothing(scene: Scene) -> None:
    """While a parent is retried, snoozed or released its children stay blocked."""
    for kind in (retry, snooze, release):
        parent = scene.put(priority=9)
        child = scene.put(after=(parent,))
        scene.settle(kind(scene.run(parent)))
        assert (scene.state(child), scene.record(child).parents_left) == (State.BLOCKED, 1)


def test_a_stale_settlement_tells_the_children_nothing(scene: Scene) -> None:
    """A second completion of one parent does not stand for the other."""
    first, second = scene.put(priority=9), scene.put(delay_ms=60_000)
    child = scene.put(after=(first, second))
    job = scene.run(first)
    scene.complete(job)
    assert scene.complete(job) is s.Applied.STALE
    assert (scene.state(child), scene.record(child).parents_left) == (State.BLOCKED, 1)


def test_a_cancelled_child_stays_cancelled(scene: Scene) -> None:
    """A child that was cancelled meanwhile is not brought back by its parent's completion."""
    parent = scene.put(priority=9)
    child = scene.put(QUEUE, after=(parent,))
    scene.broker.cancel([child])
    scene.complete(scene.run(parent))
    record = scene.record(child)
    assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR)


def test_a_cancelled_child_keeps_its_reason(scene: Scene) -> None:
    """A child that was cancelled by an operator is not cancelled again by its parent's failure."""
    parent = scene.put(priority=9)
    child = scene.put(after=(parent,))
    scene.broker.cancel([child])
    scene.harness.advance(10)
    scene.bury(scene.run(parent))
    record = scene.record(child)
    assert record.reason is Reason.BY_OPERATOR
    assert record.finished_at == scene.harness.wall_ms() - 10
