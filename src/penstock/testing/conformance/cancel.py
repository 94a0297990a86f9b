"""cancel: end waiting jobs, and ask running ones to end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.broker import requests as r
from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import FINAL, WAITING, State
from penstock.errors import UsageError

from .cases import requires
from .harness import Capability
from .scene import DEADLINE_S, QUEUE, Scene, retry


def test_a_waiting_job_is_cancelled(scene: Scene) -> None:
    """Blocked, scheduled, queued or retrying: the job is cancelled and never starts."""
    for state in sorted(WAITING):
        job_id = scene.in_state(state)
        assert list(scene.broker.cancel([job_id])) == [r.CancelAnswer.CANCELLED], state
        record = scene.record(job_id)
        assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR)
        assert record.finished_at == scene.harness.wall_ms()
    scene.harness.advance(10**8)
    scene.broker.promote([QUEUE], limit=100)
    lease = scene.lease()
    started = {job.id for job in scene.claim(lease, limit=100)}
    assert not started & {job.id for job in scene.all_jobs() if job.state is State.CANCELLED}


def test_a_running_job_is_asked(scene: Scene) -> None:
    """It runs on, with the request on record; asking again changes nothing."""
    job = scene.run(scene.put())
    for _ in range(2):
        assert list(scene.broker.cancel([job.id])) == [r.CancelAnswer.REQUESTED]
        record = scene.record(job.id)
        assert (record.state, record.cancel_requested) == (State.RUNNING, True)
        assert (record.reason, record.finished_at) == (None, None)
    assert scene.counts().running == 1


def test_a_final_job_is_too_late(scene: Scene) -> None:
    """An end is an end, of whichever kind; nothing about it changes."""
    for state in sorted(FINAL):
        job_id = scene.in_state(state)
        before = scene.record(job_id)
        scene.harness.advance(5)
        assert list(scene.broker.cancel([job_id])) == [r.CancelAnswer.TOO_LATE], state
        assert scene.record(job_id) == before


def test_an_unknown_job_is_not_found(scene: Scene) -> None:
    """A job that never was, or is forgotten, is not found."""
    gone = scene.in_state(State.DEAD)
    scene.broker.delete([gone])
    answers = scene.broker.cancel([scene.new_id(), gone])
    assert list(answers) == [r.CancelAnswer.NOT_FOUND] * 2


def test_answers_stand_in_order(scene: Scene) -> None:
    """Jobs in all states may be named in one call, one of them twice."""
    waiting, running = scene.in_state(State.SCHEDULED), scene.in_state(State.RUNNING)
    final = scene.in_state(State.COMPLETED)
    answers = scene.broker.cancel([final, waiting, running, waiting, scene.new_id()])
    assert list(answers) == ["too_late", "cancelled", "requested", "too_late", "not_found"]


def test_children_follow_as_their_edge_says(scene: Scene) -> None:
    """A cancelled parent cancels its children, and theirs, or is ignored."""
    parent = scene.put()
    child = scene.put(after=(parent,))
    grandchild = scene.put(after=(child,))
    spared = scene.put(after=(Parent(parent, ignore_failure=True),))
    later = scene.put(after=(Parent(parent, ignore_failure=True),), delay_ms=1_000)
    assert list(scene.broker.cancel([parent])) == ["cancelled"]
    assert scene.states(child, grandchild) == [State.CANCELLED] * 2
    assert scene.record(child).reason is Reason.PARENT_FAILED
    assert scene.states(spared, later) == [State.QUEUED, State.SCHEDULED]


def test_children_of_a_running_job_wait_for_its_end(scene: Scene) -> None:
    """A request alone fails no parent."""
    job = scene.run(scene.put())
    child = scene.put(after=(job.id,))
    scene.broker.cancel([job.id])
    assert scene.state(child) is State.BLOCKED
    scene.settle(retry(job))
    assert scene.state(child) is State.CANCELLED


def test_a_cancelled_job_leaves_its_ready_set(scene: Scene) -> None:
    """What was queued is gone from the index, not only hidden."""
    scene.broker.cancel([scene.put()])
    assert scene.broker.needs([QUEUE])[QUEUE] == []
    assert scene.counts().oldest_queued_ms is None


@requires(Capability.THREADS)
def test_a_cancelled_job_never_starts(scene: Scene) -> None:
    """Cancels that race claims: what answered cancelled is not handed out, the rest was."""
    jobs = scene.put_many(200)
    claimer, canceller = scene.harness.open(), scene.harness.open()
    lease = scene.lease()
    requests = [scene.request(lease, limit=1) for _ in jobs]
    with ThreadPoolExecutor(2) as pool:
        claims = pool.submit(lambda: [claimer.claim(request).jobs for request in requests])
        cancels = pool.submit(lambda: [canceller.cancel([job_id])[0] for job_id in reversed(jobs)])
        started = {job.id for taken in claims.result(DEADLINE_S) for job in taken}
        answers = dict(zip(reversed(jobs), cancels.result(DEADLINE_S), strict=True))
    assert started == {job_id for job_id in jobs if answers[job_id] == "requested"}
    assert set(answers.values()) <= {"cancelled", "requested"}


def test_a_batch_has_at_most_batch_max_jobs(scene: Scene) -> None:
    """No ids are no answers; over BATCH_MAX breaks the rule and cancels nothing."""
    job_id = scene.put()
    assert list(scene.broker.cancel([])) == []
    with pytest.raises(UsageError):
        scene.broker.cancel([job_id] * (r.BATCH_MAX + 1))
    assert scene.state(job_id) is State.QUEUED
