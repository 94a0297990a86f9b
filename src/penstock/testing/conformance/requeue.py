"""requeue: give final jobs a new budget of attempts."""

from __future__ import annotations

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.job import ALONE, ATTEMPTS_KEPT, NO_CHARGES, Charges
from penstock.core.lifecycle import FINAL, State
from penstock.errors import UsageError

from .scene import QUEUE, Scene, bury, complete, release, retry


def test_a_final_job_is_queued_again(scene: Scene) -> None:
    """From each final state the same id is queued, with nothing of its end left."""
    for state in sorted(FINAL):
        job_id = scene.in_state(state)
        assert list(scene.broker.requeue([job_id])) == [r.OperatorAnswer.DONE], state
        record = scene.record(job_id)
        assert record.state is State.QUEUED, state
        assert (record.reason, record.finished_at, record.cancel_requested) == (None, None, False)
        assert (record.result, record.result_dropped) == (None, False)


def test_a_requeued_job_has_a_new_budget(scene: Scene) -> None:
    """Charges are cleared, and the need of the spec holds again."""
    job_id = scene.put()
    scene.settle(retry(scene.run(job_id), 0, need=ALONE))
    charges = Charges(errors=4, crashes=2, suspect=True, lost=True, bystander=True)
    scene.settle(msgspec.structs.replace(bury(scene.run(job_id)), charges=charges))
    scene.broker.requeue([job_id])
    assert scene.record(job_id).charges == NO_CHARGES
    assert scene.broker.needs([QUEUE])[QUEUE] == ["shared"]
    assert scene.run(job_id).charges == NO_CHARGES


def test_a_requeued_job_keeps_its_history(scene: Scene) -> None:
    """The claim number goes on rising; attempts, log, progress and checkpoint stay."""
    job_id = scene.put()
    job = scene.run(job_id)
    raw = msgspec.Raw(b"7")
    scene.broker.note(
        [r.Note(id=job_id, fence=job.fence, progress=raw, checkpoint=raw, log=("line",))]
    )
    scene.bury(job)
    scene.broker.requeue([job_id])
    again = scene.run(job_id)
    assert (again.claim_number, again.checkpoint) == (2, raw)
    record = scene.record(job_id)
    assert [attempt.number for attempt in record.attempts] == [1, 2]
    assert (record.progress, record.checkpoint, record.log) == (raw, raw, ("line",))


def test_attempts_of_a_requeued_job_are_kept_up_to_a_bound(scene: Scene) -> None:
    """However often a job is requeued, its newest ATTEMPTS_KEPT attempts are on record."""
    job_id = scene.put()
    lease = scene.lease()
    for _ in range(ATTEMPTS_KEPT + 2):
        scene.bury(scene.run(job_id, lease))
        scene.broker.requeue([job_id])
    record = scene.record(job_id)
    numbers = [attempt.number for attempt in record.attempts]
    assert numbers == list(range(3, ATTEMPTS_KEPT + 3))
    assert record.claim_number == ATTEMPTS_KEPT + 2


def test_an_old_fence_stays_stale(scene: Scene) -> None:
    """A worker that held the job before its end cannot settle it after a requeue."""
    job = scene.run(scene.put())
    scene.bury(job)
    scene.broker.requeue([job.id])
    assert scene.complete(job) == "stale"
    scene.run(job.id)
    assert scene.complete(job) == "stale"


def test_a_requeued_job_has_a_new_deadline(scene: Scene) -> None:
    """Time to wait is counted from the requeue, so that an expired job may run."""
    job_id = scene.in_state(State.QUEUED, expires_ms=100)
    scene.harness.advance(100)
    scene.broker.expire([QUEUE], limit=10)
    scene.broker.requeue([job_id])
    assert scene.record(job_id).expires_at == scene.harness.wall_ms() + 100
    scene.harness.advance(99)
    assert scene.broker.expire([QUEUE], limit=10) == 0
    scene.harness.advance(1)
    assert scene.broker.expire([QUEUE], limit=10) == 1


def test_a_requeued_job_arrives_now(scene: Scene) -> None:
    """It stands behind the jobs that wait already, and waits for no due time."""
    old = scene.put(delay_ms=1_000)
    scene.broker.cancel([old])
    scene.harness.advance(5)
    waiting = scene.put()
    scene.harness.advance(5)
    scene.broker.requeue([old])
    assert scene.record(old).due_at is None
    assert [job.id for job in scene.claim(scene.lease())] == [waiting, old]


def test_a_job_that_is_not_final_stays(scene: Scene) -> None:
    """A requeue of an unfinished job answers so, and changes nothing."""
    for state in sorted(set(State) - FINAL):
        job_id = scene.in_state(state)
        before = scene.record(job_id)
        assert list(scene.broker.requeue([job_id])) == [r.OperatorAnswer.WRONG_STATE], state
        assert scene.record(job_id) == before


def test_an_unknown_job_is_not_found(scene: Scene) -> None:
    """A job that never was, or is forgotten, is not found."""
    assert list(scene.broker.requeue([scene.new_id()])) == [r.OperatorAnswer.NOT_FOUND]


def test_answers_stand_in_order(scene: Scene) -> None:
    """Of an id named twice the second finds the job queued."""
    dead, queued = scene.in_state(State.DEAD), scene.put()
    answers = scene.broker.requeue([scene.new_id(), queued, dead, dead])
    assert list(answers) == ["not_found", "wrong_state", "done", "wrong_state"]


def test_a_requeued_job_can_end_again(scene: Scene) -> None:
    """It goes through its life as before, results and retention included."""
    job_id = scene.put(result_ttl_ms=50)
    scene.complete(scene.run(job_id), b"1")
    scene.broker.requeue([job_id])
    scene.settle(release(scene.run(job_id)))
    scene.harness.advance(100)
    assert scene.broker.prune([QUEUE], [], limit=10) == 0
    scene.settle(complete(scene.run(job_id), b"2"))
    assert scene.record(job_id).result == msgspec.Raw(b"2")
    scene.harness.advance(50)
    assert scene.broker.prune([QUEUE], [], limit=10) == 1


def test_a_batch_has_at_most_batch_max_jobs(scene: Scene) -> None:
    """No ids are no answers; over BATCH_MAX breaks the rule and requeues nothing."""
    job_id = scene.in_state(State.DEAD)
    assert list(scene.broker.requeue([])) == []
    with pytest.raises(UsageError):
        scene.broker.requeue([job_id] * (r.BATCH_MAX + 1))
    assert scene.state(job_id) is State.DEAD
