"""prune: forget final jobs past their retention, results past their ttl, and spent keys."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.capacity import Capacity
from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import FINAL, State
from penstock.core.usage import Usage
from penstock.errors import JobNotFound, UsageError

from .scene import OTHER, QUEUE, Scene, complete

ALL = 500
"""More jobs than any case has."""
LONG = 10**9
"""An age and a count that nothing reaches."""


def keep(state: State = State.COMPLETED, *, age_ms: int = LONG, count: int = LONG) -> r.Retention:
    """Return a rule."""
    return r.Retention(state=state, age_ms=age_ms, count_max=count)


def test_a_final_job_is_forgotten_when_it_is_too_old(scene: Scene) -> None:
    """At its age, counted from its end, a job of each final state goes; a moment before not."""
    for state in sorted(FINAL):
        job_id = scene.in_state(state)
        scene.harness.advance(999)
        rules = [keep(state, age_ms=1_000)]
        assert scene.broker.prune([QUEUE], rules, limit=ALL) == 0, state
        scene.harness.advance(1)
        assert scene.broker.prune([QUEUE], rules, limit=ALL) == 1, state
        assert scene.broker.get(job_id) is None
        assert list(scene.broker.peek([job_id])) == [None]


def test_the_newest_final_jobs_are_kept_by_count(scene: Scene) -> None:
    """Of more than count_max jobs those that ended first are forgotten."""
    jobs = []
    for _ in range(5):
        jobs.append(scene.in_state(State.COMPLETED))
        scene.harness.advance(1)
    assert scene.broker.prune([QUEUE], [keep(count=2)], limit=ALL) == 3
    assert [scene.broker.get(job_id) is None for job_id in jobs] == [True] * 3 + [False] * 2
    assert scene.broker.prune([QUEUE], [keep(count=2)], limit=ALL) == 0


def test_a_job_ends_when_it_ends(scene: Scene) -> None:
    """Retention goes by the end of a job, not by its id: the older job may stay."""
    first, second = scene.put_many(2)
    jobs = {job.id: job for job in scene.claim(scene.lease())}
    scene.complete(jobs[second])
    scene.harness.advance(5)
    scene.complete(jobs[first])
    assert scene.broker.prune([QUEUE], [keep(count=1)], limit=ALL) == 1
    assert scene.broker.get(second) is None
    assert scene.state(first) is State.COMPLETED


def test_a_rule_is_for_one_state(scene: Scene) -> None:
    """States without a rule are kept, and counts are per state."""
    kept = [scene.in_state(state) for state in sorted(FINAL - {State.COMPLETED})]
    gone = scene.in_state(State.COMPLETED)
    scene.harness.advance(5_000)
    assert scene.broker.prune([QUEUE], [keep(age_ms=1)], limit=ALL) == 1
    assert scene.broker.get(gone) is None
    assert len(scene.states(*kept)) == 3


def test_counts_are_per_queue(scene: Scene) -> None:
    """Each queue keeps its own newest jobs, and queues that are not named keep all."""
    for queue in (QUEUE, OTHER):
        scene.put_many(3, queue)
        offer = r.Offer(queue, ("shared",))
        scene.broker.settle([complete(job) for job in scene.claim(scene.lease(), offer)])
    assert scene.broker.prune([QUEUE], [keep(count=2)], limit=ALL) == 1
    assert (scene.counts(QUEUE).completed, scene.counts(OTHER).completed) == (2, 3)
    assert scene.broker.prune([OTHER], [keep(count=2)], limit=ALL) == 1


def test_unfinished_jobs_are_never_forgotten(scene: Scene) -> None:
    """However old, a job that is not final stays."""
    jobs = [scene.in_state(state) for state in sorted(set(State) - FINAL)]
    scene.harness.advance(10**8)
    rules = [keep(state, age_ms=0, count=0) for state in FINAL]
    scene.broker.prune([QUEUE], rules, limit=ALL)
    assert None not in [scene.broker.get(job_id) for job_id in jobs]


def test_a_call_drops_no_more_than_its_limit(scene: Scene) -> None:
    """Batches are bounded, oldest first, and the next call goes on."""
    jobs = []
    for _ in range(5):
        jobs.append(scene.in_state(State.DEAD))
        scene.harness.advance(1)
    rules = [keep(State.DEAD, age_ms=0)]
    assert scene.broker.prune([QUEUE], rules, limit=2) == 2
    assert [scene.broker.get(job_id) is None for job_id in jobs] == [True] * 2 + [False] * 3
    assert [scene.broker.prune([QUEUE], rules, limit=2) for _ in range(3)] == [2, 1, 0]


def test_a_limit_covers_all_queues_and_rules(scene: Scene) -> None:
    """Jobs of several queues and states, and results, share one bound."""
    for queue in (QUEUE, OTHER):
        scene.in_state(State.DEAD, queue)
        scene.in_state(State.CANCELLED, queue)
        scene.complete(scene.run(scene.put(queue, result_ttl_ms=1)), b"1")
    scene.harness.advance(10)
    rules = [keep(State.DEAD, age_ms=0), keep(State.CANCELLED, age_ms=0)]
    dropped = [scene.broker.prune([QUEUE, OTHER], rules, limit=4) for _ in range(3)]
    assert dropped == [4, 2, 0]


def test_a_result_is_dropped_at_its_ttl(scene: Scene) -> None:
    """The job stays, and says that its result was dropped; a moment before it was there."""
    job_id = scene.put(result_ttl_ms=100)
    scene.harness.advance(50)
    scene.complete(scene.run(job_id), b'{"rows":3}')
    scene.harness.advance(99)
    assert scene.broker.prune([QUEUE], [], limit=ALL) == 0
    assert scene.record(job_id).result is not None
    scene.harness.advance(1)
    assert scene.broker.prune([QUEUE], [], limit=ALL) == 1
    record = scene.record(job_id)
    assert (record.state, record.result, record.result_dropped) == (State.COMPLETED, None, True)
    assert scene.broker.prune([QUEUE], [], limit=ALL) == 0


def test_a_result_without_ttl_stays_with_its_job(scene: Scene) -> None:
    """Results are dropped by their own ttl only, and only in the named queues."""
    forever, other = scene.put(), scene.put(OTHER, result_ttl_ms=1)
    scene.complete(scene.run(forever), b"1")
    scene.complete(scene.run(other), b"2")
    scene.harness.advance(10**6)
    assert scene.broker.prune([QUEUE], [], limit=ALL) == 0
    assert scene.record(forever).result is not None
    assert scene.record(other).result is not None


def test_a_key_is_kept_until_its_window_ends(scene: Scene) -> None:
    """Pruning the job does not free its key; its window does, with or without a prune."""
    fields: dict[str, Any] = {"task": "t", "key": "k", "key_digest": "d", "key_ttl_ms": 1_000}
    first = scene.put(**fields)
    scene.complete(scene.run(first))
    scene.broker.prune([QUEUE], [keep(age_ms=0)], limit=ALL)
    assert scene.broker.get(first) is None
    (answer,) = scene.accept(scene.job(**fields))
    assert (answer.id, answer.state, answer.duplicate) == (first, State.COMPLETED, True)
    scene.harness.advance(1_000)
    scene.broker.prune([QUEUE], [], limit=ALL)
    (answer,) = scene.accept(scene.job(**fields))
    assert not answer.duplicate


def test_a_closed_lease_with_jobs_is_kept(scene: Scene) -> None:
    """While something runs under it a closed lease is remembered, so that it can be taken."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    scene.broker.prune([QUEUE], [], limit=ALL)
    taker = scene.lease()
    answer = scene.broker.reclaim(
        r.ReclaimRequest(
            lease=taker, queues=(QUEUE,), fence=scene.new_fence(), limit=5, lease_ttl_ms=1_000
        )
    )
    assert [taken.id for taken in answer.jobs] == [job.id]


def test_an_open_lease_is_kept(scene: Scene) -> None:
    """Prune forgets no lease that is open, idle though it may be."""
    lease = scene.lease()
    scene.put()
    scene.broker.prune([QUEUE], [], limit=ALL)
    assert scene.broker.claim(scene.request(lease)).lease_open


def test_what_was_measured_stays_with_the_jobs_that_stay(scene: Scene) -> None:
    """A usage is forgotten with its job, and not before."""
    first, second = (scene.run(scene.put()) for _ in range(2))
    usage = Usage(peak_bytes=1)
    for job in (first, second):
        scene.settle(msgspec.structs.replace(complete(job), usage=usage))
    assert scene.broker.prune([QUEUE], [keep(count=1)], limit=ALL) == 1
    assert scene.broker.prune([QUEUE], [keep(count=1)], limit=ALL) == 0
    assert [attempt.usage for attempt in scene.record(second.id).attempts] == [usage]


def test_an_open_lease_keeps_its_capacity(scene: Scene) -> None:
    """Pruning forgets the capacities of leases that are gone, and no others."""
    open_one, closed = scene.new_lease_id(), scene.new_lease_id()
    for lease_id in (open_one, closed):
        request = r.OpenLease(
            id=lease_id,
            queues=(QUEUE,),
            owner=scene.owner(),
            ttl_ms=LONG,
            capacity=Capacity(slots=3),
        )
        scene.broker.open_lease(request)
    scene.broker.close_leases([closed])
    scene.broker.prune([QUEUE], [], limit=ALL)
    found = [(facts.id, facts.capacity) for facts in scene.broker.leases()]
    assert found == [(open_one, Capacity(slots=3))]


def test_a_forgotten_parent_holds_nobody_back(scene: Scene) -> None:
    """A child of a forgotten parent waits for the others only; new children are refused."""
    done, other = scene.put(), scene.put(OTHER)
    child = scene.put(OTHER, after=(done, other))
    scene.complete(scene.run(done))
    scene.broker.prune([QUEUE], [keep(age_ms=0)], limit=ALL)
    assert isinstance(scene.refuse(scene.job(after=(done,))), JobNotFound)
    assert scene.record(child).parents_left == 1
    scene.complete(scene.run(other))
    assert scene.state(child) is State.QUEUED


def test_a_child_that_waits_for_a_requeue_ends_with_its_parent(scene: Scene) -> None:
    """A requeued child of a failed parent is cancelled when that parent is forgotten."""
    parent = scene.put()
    child = scene.put(OTHER, after=(parent,))
    ignoring = scene.put(OTHER, after=(Parent(parent, ignore_failure=True),))
    scene.bury(scene.run(parent))
    scene.broker.requeue([child])
    assert scene.state(child) is State.BLOCKED
    scene.broker.prune([QUEUE], [keep(State.DEAD, age_ms=0)], limit=ALL)
    record = scene.record(child)
    assert (record.state, record.reason) == (State.CANCELLED, Reason.PARENT_FAILED)
    assert scene.state(ignoring) is State.QUEUED


def test_a_limit_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """A limit outside 1..BATCH_MAX breaks the rule, and nothing is dropped."""
    job_id = scene.in_state(State.DEAD)
    for limit in (0, r.BATCH_MAX + 1):
        with pytest.raises(UsageError):
            scene.broker.prune([QUEUE], [keep(State.DEAD, age_ms=0)], limit=limit)
    assert scene.state(job_id) is State.DEAD
