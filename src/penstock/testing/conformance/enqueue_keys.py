"""enqueue: idempotency keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from penstock.broker import requests as r
from penstock.core.lifecycle import State
from penstock.errors import DuplicateKey, JobNotFound

from .cases import requires
from .harness import Capability
from .scene import OTHER, Scene

HOUR_MS = 3_600_000
"""The window of the cases."""


def keyed(scene: Scene, queue: str = "q", **fields: object) -> r.EnqueueRequest:
    """Return a request with the key `k` of the task `t`, one hour long."""
    options: dict[str, object] = {
        "task": "t",
        "key": "k",
        "key_digest": "d1",
        "key_ttl_ms": HOUR_MS,
    }
    return scene.job(queue, **{**options, **fields})  # type: ignore[arg-type] # fields of job()


def test_the_same_key_and_digest_is_the_same_job(scene: Scene) -> None:
    """A second enqueue under a key answers with the first job, as a duplicate."""
    first, second = keyed(scene), keyed(scene)
    scene.accept(first)
    (answer,) = scene.accept(second)
    assert answer == r.Accepted(
        first.id, State.QUEUED, scene.broker.describe().durability, duplicate=True
    )
    assert [job.id for job in scene.all_jobs()] == [first.id]


def test_the_same_key_with_another_digest_is_refused(scene: Scene) -> None:
    """A key that belongs to other arguments is refused, naming the job that holds it."""
    first = keyed(scene)
    scene.accept(first)
    error = scene.refuse(keyed(scene, key_digest="d2"))
    assert isinstance(error, DuplicateKey)
    assert error.job_id == first.id
    assert scene.counts().queued == 1


def test_a_key_is_unique_within_one_batch(scene: Scene) -> None:
    """Keys hold between the jobs of one batch as between calls."""
    first, second, third = keyed(scene), keyed(scene), keyed(scene, key_digest="d2")
    answers = scene.broker.enqueue([first, second, third])
    assert [getattr(answer, "id", None) for answer in answers] == [first.id, first.id, None]
    assert scene.counts().queued == 1


def test_a_key_belongs_to_its_task(scene: Scene) -> None:
    """Another task may use the same key; another queue of the same task may not."""
    scene.accept(keyed(scene))
    (other_task,) = scene.accept(keyed(scene, task="t2"))
    (other_queue,) = scene.accept(keyed(scene, OTHER))
    assert other_task.duplicate is False
    assert other_queue.duplicate is True


def test_a_key_is_free_again_when_its_window_ends(scene: Scene) -> None:
    """One millisecond before the end it is taken, at the end it is free, whatever the digest."""
    first, late, free = keyed(scene), keyed(scene), keyed(scene, key_digest="d2")
    scene.accept(first)
    scene.harness.advance(HOUR_MS - 1)
    (before,) = scene.accept(late)
    scene.harness.advance(1)
    (after,) = scene.accept(free)
    assert before.id == first.id
    assert after == r.Accepted(free.id, State.QUEUED, scene.broker.describe().durability)


def test_a_new_holder_has_a_window_of_its_own(scene: Scene) -> None:
    """After the window the key belongs to the new job, for its whole window."""
    scene.accept(keyed(scene))
    scene.harness.advance(HOUR_MS)
    second = keyed(scene)
    scene.accept(second)
    scene.harness.advance(HOUR_MS - 1)
    (third,) = scene.accept(keyed(scene))
    assert third.id == second.id


def test_a_key_holds_whatever_became_of_its_job(scene: Scene) -> None:
    """A final job keeps its key until the window ends, and answers with its state."""
    first = keyed(scene)
    scene.accept(first)
    scene.complete(scene.run(first.id))
    (answer,) = scene.accept(keyed(scene))
    assert answer.id == first.id
    assert answer.state is State.COMPLETED


def test_a_key_outlives_its_job(scene: Scene) -> None:
    """A forgotten job's key answers with the old id and last state until its window ends."""
    first = keyed(scene)
    scene.accept(first)
    scene.bury(scene.run(first.id))
    scene.broker.delete([first.id])
    (answer,) = scene.accept(keyed(scene))
    assert answer == r.Accepted(
        first.id, State.DEAD, scene.broker.describe().durability, duplicate=True
    )
    assert scene.all_jobs() == []


def test_a_refused_job_takes_no_key(scene: Scene) -> None:
    """A job that is refused for another reason leaves the key free."""
    orphan = keyed(scene, after=(scene.new_id(),))
    assert isinstance(scene.refuse(orphan), JobNotFound)
    (answer,) = scene.accept(keyed(scene, key_digest="d2"))
    assert answer.duplicate is False


def test_a_duplicate_key_is_told_before_a_missing_parent(scene: Scene) -> None:
    """A repeat finds its job even when the parents are gone meanwhile."""
    parent = scene.put()
    first = keyed(scene, after=(parent,))
    scene.accept(first)
    scene.complete(scene.run(parent))
    scene.broker.delete([parent])
    (answer,) = scene.accept(keyed(scene, after=(parent,)))
    assert answer.id == first.id


@requires(Capability.THREADS)
def test_many_callers_with_one_key_make_one_job(scene: Scene) -> None:
    """Of callers that race under one key one stores its job, and all are told the same id."""
    batches = [[keyed(scene)] for _ in range(40)]
    handles = [scene.harness.open() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda at: handles[at % 4].enqueue(batches[at])[0], range(len(batches)))
        )
    accepted = [answer for answer in answers if isinstance(answer, r.Accepted)]
    assert len(accepted) == len(batches)
    assert len({answer.id for answer in accepted}) == 1
    assert [answer.duplicate for answer in accepted].count(False) == 1
    assert len(scene.all_jobs()) == 1
