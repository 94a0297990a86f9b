"""counts: true counters, at every step of a life."""

from __future__ import annotations

from penstock.broker import requests as r
from penstock.core.lifecycle import State

from .scene import OTHER, QUEUE, Scene, complete, release, retry


def test_every_registered_queue_is_counted(scene: Scene) -> None:
    """A queue without jobs counts nothing, and queues stand in the order of their names."""
    scene.broker.register(["a", "z"])
    counted = scene.broker.counts()
    assert [counts.queue for counts in counted] == sorted({"a", "z", QUEUE, OTHER})
    assert all(counts == r.QueueCounts(queue=counts.queue) for counts in counted)


def test_each_state_is_counted(scene: Scene) -> None:
    """One job in each state is one on each counter, and the other queue counts none of them."""
    for state in State:
        scene.in_state(state)
        scene.check_counters()
    counts = scene.counts()
    assert [getattr(counts, state) for state in State if state is not State.SCHEDULED] == [1] * 8
    assert counts.scheduled == 2, "one for itself, one as parent of the blocked job"
    assert scene.counts(OTHER) == r.QueueCounts(queue=OTHER)


def test_counters_follow_every_step(scene: Scene) -> None:
    """After each verb the counters equal a recount."""
    lease = scene.lease()
    parent = scene.put(expires_ms=50_000)
    scene.put(after=(parent,))
    scene.put(delay_ms=10)
    scene.check_counters()
    scene.settle(retry(scene.run(parent, lease), 5))
    scene.check_counters()
    scene.harness.advance(10)
    scene.broker.promote([QUEUE], limit=10)
    scene.check_counters()
    for job in scene.claim(lease):
        scene.settle(release(job))
        scene.check_counters()
    scene.broker.cycle([complete(job) for job in scene.claim(lease)], scene.request(lease))
    scene.check_counters()
    scene.broker.requeue([parent])
    scene.harness.advance(60_000)
    scene.broker.expire([QUEUE], limit=10)
    scene.check_counters()
    scene.broker.delete([parent])
    rule = r.Retention(state=State.COMPLETED, age_ms=0, count_max=0)
    scene.broker.prune([QUEUE], [rule], limit=10)
    scene.check_counters()


def test_a_refused_verb_changes_no_counter(scene: Scene) -> None:
    """Stale settlements, duplicates and too late cancels move nothing."""
    request = scene.job()
    scene.accept(request)
    job = scene.run(request.id)
    scene.complete(job)
    before = list(scene.broker.counts())
    scene.complete(job)
    scene.accept(request)
    scene.broker.cancel([job.id])
    scene.broker.delete([scene.new_id()])
    assert list(scene.broker.counts()) == before


def test_the_oldest_queued_job_is_told(scene: Scene) -> None:
    """The time since the oldest claimable job arrived, over all needs and priorities."""
    scene.put(delay_ms=10_000)
    assert scene.counts().oldest_queued_ms is None
    oldest = scene.put(priority=1, need="alone.m3")
    scene.harness.advance(70)
    scene.put(priority=9)
    scene.harness.advance(30)
    assert scene.counts().oldest_queued_ms == 100
    scene.broker.cancel([oldest])
    assert scene.counts().oldest_queued_ms == 30
    assert scene.counts(OTHER).oldest_queued_ms is None


def test_a_promoted_job_is_as_old_as_its_due_time(scene: Scene) -> None:
    """Waiting for a due time is not waiting in the queue; waiting for a promotion is."""
    scene.put(delay_ms=1_000)
    scene.harness.advance(1_200)
    scene.broker.promote([QUEUE], limit=1)
    assert scene.counts().oldest_queued_ms == 200
