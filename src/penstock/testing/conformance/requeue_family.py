"""requeue: what it does to parents and children."""

from __future__ import annotations

from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import State

from .scene import OTHER, QUEUE, Scene


def test_children_that_it_took_down_are_blocked_again(scene: Scene) -> None:
    """Children cancelled by the failure wait again, theirs too, and run after a completion."""
    parent = scene.put(OTHER)
    child = scene.put(after=(parent,))
    grandchild = scene.put(after=(child,))
    scene.bury(scene.run(parent))
    scene.broker.requeue([parent])
    assert scene.states(parent, child, grandchild) == [
        State.QUEUED,
        State.BLOCKED,
        State.BLOCKED,
    ]
    record = scene.record(grandchild)
    assert (record.reason, record.finished_at, record.parents_left) == (None, None, 1)
    scene.complete(scene.run(parent))
    scene.complete(scene.run(child))
    assert scene.state(grandchild) is State.QUEUED


def test_children_stored_cancelled_are_blocked_again(scene: Scene) -> None:
    """A child enqueued after the failure was taken down by it as well."""
    parent = scene.in_state(State.EXPIRED, OTHER)
    child = scene.put(after=(parent,))
    scene.broker.requeue([parent])
    assert scene.state(child) is State.BLOCKED


def test_a_second_failure_takes_them_down_again(scene: Scene) -> None:
    """A parent that dies again cancels its children again."""
    parent = scene.put(OTHER)
    child = scene.put(after=(parent,))
    for _ in range(2):
        scene.bury(scene.run(parent))
        assert scene.state(child) is State.CANCELLED
        scene.broker.requeue([parent])
        assert scene.state(child) is State.BLOCKED


def test_children_cancelled_for_another_reason_stay(scene: Scene) -> None:
    """What an operator cancelled, or what expired, is not brought back by its parent."""
    parent = scene.put(OTHER)
    cancelled, expired = scene.put(after=(parent,)), scene.put(after=(parent,), expires_ms=1)
    scene.broker.cancel([cancelled])
    scene.harness.advance(1)
    scene.broker.expire([QUEUE], limit=10)
    scene.bury(scene.run(parent))
    scene.broker.requeue([parent])
    assert scene.states(cancelled, expired) == [State.CANCELLED, State.EXPIRED]


def test_a_child_with_another_failed_parent_stays_cancelled(scene: Scene) -> None:
    """While any parent stands failed the child stays; with the last one requeued it waits."""
    first, second = scene.put(OTHER), scene.put(OTHER)
    child = scene.put(after=(first, second))
    scene.bury(scene.run(first))
    scene.bury(scene.run(second))
    scene.broker.requeue([first])
    assert scene.state(child) is State.CANCELLED
    scene.broker.requeue([second])
    record = scene.record(child)
    assert (record.state, record.parents_left) == (State.BLOCKED, 2)


def test_a_child_is_restored_only_by_a_parent_that_took_it_down(scene: Scene) -> None:
    """A parent that completed, or whose failure is ignored, brings back no child when requeued."""
    done, ignored, failed = scene.put(OTHER), scene.put(OTHER), scene.put(OTHER)
    child = scene.put(after=(done, Parent(ignored, ignore_failure=True), failed))
    scene.complete(scene.run(done))
    scene.bury(scene.run(ignored))
    scene.bury(scene.run(failed))
    scene.broker.delete([failed])
    scene.broker.requeue([done, ignored])
    assert scene.states(done, ignored, child) == [State.QUEUED, State.QUEUED, State.CANCELLED]


def test_a_diamond_is_restored_whole(scene: Scene) -> None:
    """A job below two fallen parents waits for both again."""
    top = scene.put(OTHER)
    left, right = scene.put(after=(top,)), scene.put(after=(top,))
    bottom = scene.put(after=(left, right))
    scene.bury(scene.run(top))
    scene.broker.requeue([top])
    assert scene.states(left, right, bottom) == [State.BLOCKED] * 3
    assert scene.record(bottom).parents_left == 2
    for job_id in (top, left, right):
        scene.complete(scene.run(job_id))
    assert scene.state(bottom) is State.QUEUED


def test_a_long_chain_is_restored_whole(scene: Scene) -> None:
    """A thousand jobs that fell with their parent wait again after one requeue."""
    requests = [scene.job()]
    for _ in range(999):
        requests.append(scene.job(after=(requests[-1].id,)))
    scene.accept(*requests[:500])
    scene.accept(*requests[500:])
    scene.broker.cancel([requests[0].id])
    scene.broker.requeue([requests[0].id])
    counts = scene.counts()
    assert (counts.queued, counts.blocked, counts.cancelled) == (1, 999, 0)


def test_children_that_still_wait_wait_for_it_again(scene: Scene) -> None:
    """A completed parent that is requeued holds back the children not yet unblocked."""
    first, second = scene.put(OTHER), scene.put(OTHER)
    child = scene.put(after=(first, second))
    scene.complete(scene.run(first))
    scene.broker.requeue([first])
    assert scene.record(child).parents_left == 2
    scene.complete(scene.run(first))
    record = scene.record(child)
    assert (record.state, record.parents_left) == (State.BLOCKED, 1)
    scene.complete(scene.run(second))
    assert scene.state(child) is State.QUEUED


def test_an_ignored_failure_that_is_requeued_is_waited_for_again(scene: Scene) -> None:
    """On an ignoring edge a requeued parent is unfinished once more."""
    first, second = scene.put(QUEUE), scene.put(OTHER, delay_ms=60_000)
    child = scene.put(OTHER, after=(Parent(first, ignore_failure=True), second))
    scene.bury(scene.run(first))
    assert scene.record(child).parents_left == 1
    scene.broker.requeue([first])
    assert scene.record(child).parents_left == 2


def test_children_that_ran_are_left_alone(scene: Scene) -> None:
    """A requeued parent undoes nothing that has happened after it."""
    parent = scene.put(OTHER)
    child = scene.put(after=(parent,))
    scene.complete(scene.run(parent))
    scene.broker.requeue([parent])
    record = scene.record(child)
    assert (record.state, record.parents_left) == (State.QUEUED, 0)
    scene.complete(scene.run(child))
    scene.complete(scene.run(parent))
    assert scene.state(child) is State.COMPLETED


def test_a_child_requeued_before_its_parent_is_blocked(scene: Scene) -> None:
    """A job cancelled by a parent that still stands failed waits for it, and then runs."""
    parent = scene.put(OTHER)
    child = scene.put(after=(parent,))
    scene.bury(scene.run(parent))
    assert list(scene.broker.requeue([child])) == ["done"]
    record = scene.record(child)
    assert (record.state, record.reason, record.parents_left) == (State.BLOCKED, None, 1)
    scene.broker.requeue([parent])
    assert scene.record(child).parents_left == 1
    scene.complete(scene.run(parent))
    assert scene.state(child) is State.QUEUED


def test_a_child_requeued_before_its_parent_falls_with_it_again(scene: Scene) -> None:
    """The parent's next failure cancels the child that waited for it."""
    parent = scene.put(OTHER)
    child = scene.put(after=(parent,))
    scene.bury(scene.run(parent))
    scene.broker.requeue([child])
    scene.broker.requeue([parent])
    scene.bury(scene.run(parent))
    record = scene.record(child)
    assert (record.state, record.reason) == (State.CANCELLED, Reason.PARENT_FAILED)


def test_a_child_whose_parents_completed_meanwhile_is_queued(scene: Scene) -> None:
    """A job cancelled by a parent that has completed since, or is forgotten, runs at once."""
    parent, forgotten = scene.put(OTHER), scene.put(OTHER)
    child, orphan = scene.put(after=(parent,)), scene.put(after=(forgotten,))
    scene.broker.cancel([parent, forgotten])
    scene.broker.requeue([parent])
    scene.broker.cancel([child])
    scene.complete(scene.run(parent))
    scene.broker.delete([forgotten])
    assert list(scene.broker.requeue([child, orphan])) == ["done", "done"]
    assert scene.states(child, orphan) == [State.QUEUED] * 2


def test_an_operator_may_start_a_job_without_its_parents(scene: Scene) -> None:
    """A job that was cancelled for itself is queued by a requeue, unfinished parents or not."""
    parent = scene.put(OTHER, delay_ms=60_000)
    child = scene.put(after=(parent,))
    scene.broker.cancel([child])
    scene.broker.requeue([child])
    assert scene.state(child) is State.QUEUED
    job = scene.run(child)
    scene.broker.cancel([parent])
    assert scene.state(child) is State.RUNNING
    assert scene.complete(job) == "applied"


def test_a_restored_child_keeps_its_due_time_and_renews_its_deadline(scene: Scene) -> None:
    """Time to wait is counted from the requeue; a due time that lies ahead still holds."""
    parent = scene.put(OTHER)
    child = scene.put(after=(parent,), delay_ms=500, expires_ms=900)
    due_at = scene.harness.wall_ms() + 500
    scene.bury(scene.run(parent))
    scene.harness.advance(100)
    scene.broker.requeue([parent])
    record = scene.record(child)
    assert (record.due_at, record.expires_at) == (due_at, scene.harness.wall_ms() + 900)
    scene.complete(scene.run(parent))
    assert scene.state(child) is State.SCHEDULED
