"""enqueue: jobs with parents."""

from __future__ import annotations

from penstock.broker import requests as r
from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import FINAL, State
from penstock.errors import JobNotFound

from .scene import OTHER, QUEUE, Scene

FAILED = sorted(FINAL - {State.COMPLETED})
"""The final states of a parent that cancel its children unless they ignore it."""


def test_an_unfinished_parent_blocks(scene: Scene) -> None:
    """While a parent is not final, in whichever state, the job is blocked."""
    for state in sorted(set(State) - FINAL):
        parent = scene.in_state(state)
        child = scene.put(after=(parent,))
        assert scene.state(child) is State.BLOCKED, state
        assert scene.record(child).parents_left == 1, state


def test_a_completed_parent_does_not_block(scene: Scene) -> None:
    """A job whose parents completed is queued, or scheduled if it is due later."""
    parent = scene.in_state(State.COMPLETED)
    assert scene.state(scene.put(after=(parent,))) is State.QUEUED
    assert scene.state(scene.put(after=(parent,), delay_ms=5)) is State.SCHEDULED


def test_a_failed_parent_cancels(scene: Scene) -> None:
    """A job whose parent has failed is stored cancelled, with the reason, and can be looked up."""
    for state in FAILED:
        child = scene.put(after=(scene.in_state(state),))
        record = scene.record(child)
        assert record.state is State.CANCELLED, state
        assert record.reason is Reason.PARENT_FAILED
        assert record.finished_at == scene.harness.wall_ms()


def test_a_failed_parent_can_be_ignored(scene: Scene) -> None:
    """On an edge that ignores failure a failed parent counts as finished."""
    for state in FAILED:
        parent = scene.in_state(state)
        assert scene.state(scene.put(after=(Parent(parent, ignore_failure=True),))) is State.QUEUED


def test_only_unfinished_parents_are_counted(scene: Scene) -> None:
    """Of several parents those that are final already hold nothing back."""
    done = scene.in_state(State.COMPLETED)
    dead = Parent(scene.in_state(State.DEAD), ignore_failure=True)
    waiting, running = scene.in_state(State.SCHEDULED), scene.in_state(State.RUNNING)
    record = scene.record(scene.put(after=(done, dead, waiting, running)))
    assert (record.state, record.parents_left) == (State.BLOCKED, 2)


def test_one_failed_parent_is_enough(scene: Scene) -> None:
    """A failed parent cancels even while others are unfinished."""
    parents = (scene.in_state(State.SCHEDULED), scene.in_state(State.DEAD))
    assert scene.state(scene.put(after=parents)) is State.CANCELLED


def test_an_unknown_parent_refuses_the_job(scene: Scene) -> None:
    """A parent that was never enqueued refuses the job with JobNotFound; others go on."""
    request, other = scene.job(after=(scene.new_id(),)), scene.job()
    refused, accepted = scene.broker.enqueue([request, other])
    assert isinstance(refused, r.Refused)
    assert isinstance(refused.error, JobNotFound)
    assert request.parents[0].id in str(refused.error)
    assert isinstance(accepted, r.Accepted)
    assert scene.broker.get(request.id) is None


def test_a_parent_may_stand_earlier_in_the_batch(scene: Scene) -> None:
    """A whole graph may be enqueued in one batch, parents first."""
    first = scene.job()
    second = scene.job(after=(first.id,))
    third = scene.job(after=(first.id, second.id))
    scene.accept(first, second, third)
    states = scene.states(first.id, second.id, third.id)
    assert states == [State.QUEUED, State.BLOCKED, State.BLOCKED]
    assert scene.record(third.id).parents_left == 2


def test_a_parent_may_not_stand_later_in_the_batch(scene: Scene) -> None:
    """A job before its parent is refused, so that a graph can have no cycle."""
    parent = scene.job()
    child, self_parent = scene.job(after=(parent.id,)), scene.new_id()
    loop = scene.job(id=self_parent, after=(self_parent,))
    answers = scene.broker.enqueue([child, loop, parent])
    assert [isinstance(answer, r.Accepted) for answer in answers] == [False, False, True]


def test_a_child_of_a_refused_job_is_refused(scene: Scene) -> None:
    """What was not stored is no parent."""
    refused = scene.job(after=(scene.new_id(),))
    answers = scene.broker.enqueue([refused, scene.job(after=(refused.id,))])
    assert [isinstance(answer, r.Refused) for answer in answers] == [True, True]


def test_a_child_of_a_cancelled_child_is_cancelled(scene: Scene) -> None:
    """A failure reaches through a batch: the child of a job stored cancelled is cancelled too."""
    child = scene.job(after=(scene.in_state(State.DEAD),))
    grandchild = scene.job(after=(child.id,))
    scene.accept(child, grandchild)
    assert scene.states(child.id, grandchild.id) == [State.CANCELLED] * 2
    assert scene.record(grandchild.id).reason is Reason.PARENT_FAILED


def test_a_parent_may_be_in_another_queue(scene: Scene) -> None:
    """An edge may span queues."""
    parent = scene.put(OTHER)
    child = scene.put(QUEUE, after=(parent,))
    assert scene.state(child) is State.BLOCKED
    scene.complete(scene.run(parent))
    assert scene.state(child) is State.QUEUED


def test_a_blocked_job_is_not_handed_out(scene: Scene) -> None:
    """A blocked job stands in no ready set."""
    scene.put(after=(scene.in_state(State.SCHEDULED),))
    assert scene.claim(scene.lease()) == ()
    assert scene.broker.needs([QUEUE])[QUEUE] == []
