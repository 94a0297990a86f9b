"""claim: in which order."""

from __future__ import annotations

from penstock.broker import requests as r
from penstock.core.job import ALONE, SHARED
from penstock.core.lifecycle import State

from .scene import OTHER, QUEUE, Scene, release, retry, snooze

BOTH = (r.Offer(QUEUE, (SHARED, ALONE)), r.Offer(OTHER, (SHARED, ALONE)))
"""Every set of the cases."""


def test_higher_priority_goes_first(scene: Scene) -> None:
    """10 is first and 0 is last, whenever they came."""
    jobs = {priority: scene.put(priority=priority) for priority in (0, 5, 10, 3, 7)}
    claimed = [job.id for job in scene.claim(scene.lease())]
    assert claimed == [jobs[priority] for priority in (10, 7, 5, 3, 0)]


def test_equal_priority_goes_in_the_order_of_arrival(scene: Scene) -> None:
    """First in, first out; within one millisecond the id decides."""
    jobs = scene.put_many(3)
    scene.harness.advance(1)
    jobs += scene.put_many(3)
    assert [job.id for job in scene.claim(scene.lease())] == jobs


def test_arrival_counts_before_the_id(scene: Scene) -> None:
    """An id drawn early but enqueued late goes behind what came before it."""
    early_id = scene.job()
    scene.harness.advance(5)
    first = scene.put()
    scene.harness.advance(5)
    scene.accept(early_id)
    assert [job.id for job in scene.claim(scene.lease())] == [first, early_id.id]


def test_order_is_strict_over_all_offered_sets(scene: Scene) -> None:
    """The best head of all offered sets goes first, whichever queue and need it belongs to."""
    expected = []
    for priority in (9, 8, 6, 2):
        for queue in (OTHER, QUEUE):
            for need in (ALONE, SHARED):
                scene.harness.advance(1)
                expected.append(scene.put(queue, need=need, priority=priority))
    lease = scene.lease()
    claimed = [job.id for _ in range(4) for job in scene.claim(lease, *BOTH, limit=4)]
    assert claimed == expected


def test_a_released_job_keeps_its_place(scene: Scene) -> None:
    """What was released goes before jobs that came after it."""
    first = scene.put()
    scene.harness.advance(10)
    lease = scene.lease()
    job = scene.run(first, lease)
    second = scene.put()
    scene.harness.advance(10)
    scene.settle(release(job))
    assert [job.id for job in scene.claim(lease)] == [first, second]


def test_a_promoted_job_stands_where_its_due_time_puts_it(scene: Scene) -> None:
    """However late the promotion, a job goes before those that came after it was due."""
    late = scene.put(delay_ms=200)
    early = scene.put(delay_ms=100)
    scene.harness.advance(150)
    between = scene.put()
    scene.harness.advance(1_000)
    last = scene.put()
    assert [job.id for job in scene.claim(scene.lease())] == [early, between, late, last]


def test_retries_and_snoozes_stand_where_their_due_time_puts_them(scene: Scene) -> None:
    """A job that comes back arrives when it is due, not when it was enqueued first."""
    lease = scene.lease()
    retried, snoozed = scene.put_many(2)
    jobs = scene.claim(lease)
    scene.settle(retry(jobs[0], delay_ms=300))
    scene.settle(snooze(jobs[1], delay_ms=100))
    scene.harness.advance(200)
    fresh = scene.put()
    scene.harness.advance(200)
    assert [job.id for job in scene.claim(lease)] == [snoozed, fresh, retried]


def test_an_unblocked_job_arrives_when_it_is_unblocked(scene: Scene) -> None:
    """Waiting for a parent earns no place before jobs that were claimable earlier."""
    parent = scene.put()
    child = scene.put(after=(parent,))
    running = scene.run(parent)
    scene.harness.advance(5)
    other = scene.put()
    scene.harness.advance(5)
    scene.complete(running)
    assert [job.id for job in scene.claim(scene.lease())] == [other, child]


def test_due_jobs_are_promoted_by_the_claim(scene: Scene) -> None:
    """A claim finds what has become due, retries too; one millisecond before it does not."""
    lease = scene.lease()
    retried = scene.put()
    scene.settle(retry(scene.run(retried, lease), delay_ms=100))
    scheduled = scene.put(delay_ms=100)
    scene.harness.advance(99)
    assert scene.claim(lease) == ()
    assert scene.states(retried, scheduled) == [State.RETRYING, State.SCHEDULED]
    scene.harness.advance(1)
    assert {job.id for job in scene.claim(lease)} == {retried, scheduled}


def test_more_due_jobs_than_a_claim_promotes_are_found_later(scene: Scene) -> None:
    """A claim promotes at most BATCH_MAX; the rest is due for the next one."""
    scene.put_many(r.BATCH_MAX, delay_ms=10)
    last = scene.put(delay_ms=20)
    scene.harness.advance(20)
    lease = scene.lease()
    assert len(scene.claim(lease, limit=r.BATCH_MAX)) == r.BATCH_MAX
    assert [job.id for job in scene.claim(lease)] == [last]


def test_a_job_past_its_deadline_is_not_handed_out(scene: Scene) -> None:
    """At its deadline a job is passed over, and the one behind it goes; before it, it goes."""
    lease = scene.lease()
    too_late = scene.put(expires_ms=100, priority=9)
    in_time = scene.put(expires_ms=101)
    scene.harness.advance(100)
    assert [job.id for job in scene.claim(lease)] == [in_time]
    assert scene.state(too_late) is not State.RUNNING


def test_many_jobs_past_their_deadline_hide_none_behind_them(scene: Scene) -> None:
    """However many heads are too late, the next good job is found in the same claim."""
    scene.put_many(300, expires_ms=1, priority=9)
    good = scene.put()
    scene.harness.advance(1)
    assert [job.id for job in scene.claim(scene.lease(), limit=1)] == [good]


def test_an_idle_claim_tells_when_the_next_job_is_due(scene: Scene) -> None:
    """With nothing claimed the answer says how long until a job of the offered queues is due."""
    lease = scene.lease()
    assert scene.broker.claim(scene.request(lease)).next_due_in_ms is None
    scene.put(OTHER, delay_ms=50)
    scene.put(delay_ms=700)
    scene.settle(retry(scene.run(scene.put(), lease), delay_ms=400))
    scene.harness.advance(10)
    assert scene.broker.claim(scene.request(lease)).next_due_in_ms == 390
    assert scene.broker.claim(scene.request(lease, *BOTH)).next_due_in_ms == 40


def test_a_claim_that_took_something_tells_no_due_time(scene: Scene) -> None:
    """Whoever got a job asks again anyway."""
    scene.put(delay_ms=50)
    scene.put()
    assert scene.broker.claim(scene.request(scene.lease())).next_due_in_ms is None
