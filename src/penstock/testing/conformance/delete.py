"""delete: forget final jobs now."""

from __future__ import annotations

import pytest

from penstock.broker import requests as r
from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import FINAL, State
from penstock.errors import UsageError

from .scene import OTHER, QUEUE, Scene, complete


def test_a_final_job_is_forgotten(scene: Scene) -> None:
    """From each final state the job is gone, from every view of it."""
    for state in sorted(FINAL):
        job_id = scene.in_state(state, task=f"task-{state}")
        assert list(scene.broker.delete([job_id])) == [r.OperatorAnswer.DONE], state
        assert scene.broker.get(job_id) is None
        assert list(scene.broker.peek([job_id])) == [None]
        assert job_id not in {job.id for job in scene.all_jobs()}


def test_a_job_that_is_not_final_stays(scene: Scene) -> None:
    """An unfinished job is not deleted: cancel it first."""
    for state in sorted(set(State) - FINAL):
        job_id = scene.in_state(state)
        before = scene.record(job_id)
        assert list(scene.broker.delete([job_id])) == [r.OperatorAnswer.WRONG_STATE], state
        assert scene.record(job_id) == before


def test_a_job_whose_cancel_is_requested_stays(scene: Scene) -> None:
    """It runs still: its attempt must end before it can be forgotten."""
    job = scene.run(scene.put())
    scene.broker.cancel([job.id])
    assert list(scene.broker.delete([job.id])) == ["wrong_state"]
    assert scene.settle(complete(job)) == "applied"


def test_an_unknown_job_is_not_found(scene: Scene) -> None:
    """A job that never was, or is deleted already, is not found."""
    job_id = scene.in_state(State.DEAD)
    answers = scene.broker.delete([scene.new_id(), job_id, job_id])
    assert list(answers) == ["not_found", "done", "not_found"]


def test_a_deleted_id_may_be_used_again(scene: Scene) -> None:
    """Nothing of the old job is left for a new one of the same id."""
    request = scene.job(result_ttl_ms=10)
    scene.accept(request)
    scene.complete(scene.run(request.id), b"1")
    scene.broker.delete([request.id])
    (answer,) = scene.accept(request)
    assert not answer.duplicate
    record = scene.record(request.id)
    assert (record.claim_number, record.attempts, record.result) == (0, (), None)
    scene.harness.advance(100)
    assert scene.broker.prune([QUEUE], [], limit=10) == 0


def test_edges_end_with_their_jobs(scene: Scene) -> None:
    """A deleted child is nobody's child; a deleted parent holds nobody back."""
    parent, other = scene.put(), scene.put(OTHER)
    deleted, kept = scene.put(OTHER, after=(parent,)), scene.put(OTHER, after=(parent, other))
    scene.broker.cancel([deleted])
    scene.broker.delete([deleted])
    scene.complete(scene.run(parent))
    scene.broker.delete([parent])
    assert scene.record(kept).parents_left == 1
    scene.complete(scene.run(other))
    assert scene.state(kept) is State.QUEUED


def test_a_child_that_waits_for_a_requeue_ends_with_its_parent(scene: Scene) -> None:
    """A requeued child of a failed parent is cancelled when that parent is deleted."""
    parent = scene.put()
    child = scene.put(OTHER, after=(parent,))
    grandchild = scene.put(OTHER, after=(child,))
    spared = scene.put(OTHER, after=(Parent(child, ignore_failure=True),))
    scene.bury(scene.run(parent))
    scene.broker.cancel([spared])
    scene.broker.requeue([child])
    waiting = scene.put(OTHER, after=(Parent(child, ignore_failure=True),))
    scene.broker.delete([parent])
    assert scene.states(spared, waiting) == [State.CANCELLED, State.QUEUED]
    for job_id in (child, grandchild):
        record = scene.record(job_id)
        assert (record.state, record.reason) == (State.CANCELLED, Reason.PARENT_FAILED)


def test_a_batch_has_at_most_batch_max_jobs(scene: Scene) -> None:
    """No ids are no answers; over BATCH_MAX breaks the rule and deletes nothing."""
    job_id = scene.in_state(State.DEAD)
    assert list(scene.broker.delete([])) == []
    with pytest.raises(UsageError):
        scene.broker.delete([job_id] * (r.BATCH_MAX + 1))
    assert scene.state(job_id) is State.DEAD
