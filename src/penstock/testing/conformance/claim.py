"""claim: what is handed out, and to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.broker import requests as r
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import ALONE, ATTEMPTS_KEPT, SHARED, AttemptRecord, Charges
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .cases import requires
from .harness import Capability
from .scene import OTHER, QUEUE, Scene, bury, release, retry


def test_a_claimed_job_runs_under_the_callers_fence(scene: Scene) -> None:
    """The answer carries what the worker needs; the job runs, and its attempt is on record."""
    job_id = scene.put(priority=7, payload=b'{"path":"x"}')
    lease = scene.lease(worker="worker-7", pid=77)
    scene.harness.advance(40)
    request = scene.request(lease)
    (job,) = scene.broker.claim(request).jobs
    now = scene.harness.wall_ms()
    assert (job.id, job.queue, job.fence, job.lease) == (job_id, QUEUE, request.fence, lease)
    assert (job.spec.priority, bytes(job.spec.payload)) == (7, b'{"path":"x"}')
    assert (job.claim_number, job.claimed_at, job.charges) == (1, now, Charges())
    assert (job.worker, job.pid, job.flaw, job.checkpoint) == (None, None, None, None)
    record = scene.record(job_id)
    assert (record.state, record.claim_number) == (State.RUNNING, 1)
    assert record.attempts == (AttemptRecord(number=1, worker="worker-7", pid=77, started_at=now),)


def test_a_running_job_is_not_handed_out(scene: Scene) -> None:
    """What one worker has no other gets, on whichever handle."""
    scene.put_many(2)
    assert len(scene.claim(scene.lease())) == 2
    scene.broker = scene.harness.open()
    assert scene.claim(scene.lease()) == ()


def test_no_more_than_the_limit_is_taken(scene: Scene) -> None:
    """The call's limit bounds the jobs over all offers."""
    jobs = scene.put_many(5)
    lease = scene.lease()
    assert [job.id for job in scene.claim(lease, limit=2)] == jobs[:2]
    assert [job.id for job in scene.claim(lease, limit=3)] == jobs[2:]


def test_an_offer_has_a_limit_of_its_own(scene: Scene) -> None:
    """An offer's limit bounds its queue, over all its sets, and leaves the others their share."""
    scene.put_many(3, QUEUE, priority=9)
    scene.put_many(3, QUEUE, priority=9, need=ALONE)
    scene.put_many(3, OTHER, priority=1)
    offers = (r.Offer(QUEUE, (SHARED, ALONE), 2), r.Offer(OTHER, (SHARED,)))
    jobs = scene.claim(scene.lease(), *offers, limit=10)
    assert [job.queue for job in jobs] == [QUEUE] * 2 + [OTHER] * 3


def test_an_offer_of_nothing_gives_nothing(scene: Scene) -> None:
    """A limit of zero, no sets, and no offers at all give no job."""
    scene.put()
    lease = scene.lease()
    assert scene.claim(lease, r.Offer(QUEUE, (SHARED,), 0)) == ()
    assert scene.claim(lease, r.Offer(QUEUE, ())) == ()


def test_only_offered_sets_give(scene: Scene) -> None:
    """Jobs of other needs and other queues stay where they are."""
    alone = scene.put(need=ALONE, priority=10)
    other = scene.put(OTHER, priority=10)
    mine = scene.put(priority=0)
    assert [job.id for job in scene.claim(scene.lease())] == [mine]
    assert scene.states(alone, other) == [State.QUEUED] * 2


def test_a_job_is_claimed_by_one_of_many(scene: Scene) -> None:
    """Two handles that claim in turn share the jobs without overlap."""
    scene.put_many(40)
    second = Scene(scene.harness)
    lease, other = scene.lease(), LeaseId(f"{0xB << 124:032x}")
    second.broker.open_lease(
        r.OpenLease(id=other, queues=(QUEUE,), owner=second.owner(), ttl_ms=1_000)
    )
    taken: list[JobId] = []
    for _ in range(20):
        taken += [job.id for job in scene.claim(lease, limit=1)]
        taken += [job.id for job in second.claim(other, limit=1)]
    assert len(taken) == len(set(taken)) == 40


@requires(Capability.THREADS)
def test_threads_never_share_a_job(scene: Scene) -> None:
    """Four threads on two handles take every job exactly once."""
    scene.put_many(200)
    handles = [scene.harness.open(), scene.harness.open()]
    lease = scene.lease()
    requests = [[scene.request(lease, limit=3) for _ in range(25)] for _ in range(4)]

    def work(number: int) -> list[JobId]:
        broker = handles[number % 2]
        return [job.id for request in requests[number] for job in broker.claim(request).jobs]

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for part in pool.map(work, range(4)) for job_id in part]
    assert len(taken) == len(set(taken)) == 200
    assert scene.counts().running == 200


def test_the_claim_number_only_rises(scene: Scene) -> None:
    """Each claim of a job has the next number, and the records tell them apart."""
    job_id = scene.put()
    for number in (1, 2, 3):
        job = scene.run(job_id)
        assert job.claim_number == number
        scene.settle(release(job))
    assert [attempt.number for attempt in scene.record(job_id).attempts] == [1, 2, 3]


def test_attempts_are_kept_up_to_a_bound(scene: Scene) -> None:
    """Of many attempts the newest ATTEMPTS_KEPT are on record; the number goes on."""
    job_id = scene.put()
    lease = scene.lease()
    for _ in range(ATTEMPTS_KEPT + 2):
        scene.settle(release(scene.run(job_id, lease)))
    record = scene.record(job_id)
    numbers = [attempt.number for attempt in record.attempts]
    assert numbers == list(range(3, ATTEMPTS_KEPT + 3))
    assert record.claim_number == ATTEMPTS_KEPT + 2


def test_charges_come_back_with_the_next_claim(scene: Scene) -> None:
    """What earlier attempts were charged is told to the next one."""
    job_id = scene.put()
    scene.settle(retry(scene.run(job_id), delay_ms=0))
    assert scene.run(job_id).charges == Charges(errors=1)


def test_a_repeat_answers_with_what_was_taken(scene: Scene) -> None:
    """The same lease and fence again give the same jobs, and take no more."""
    scene.put_many(5)
    lease = scene.lease()
    request = scene.request(lease, limit=2)
    first = scene.broker.claim(request)
    again = scene.harness.open().claim(request)
    assert [job.id for job in again.jobs] == [job.id for job in first.jobs]
    assert again.lease_open
    assert [job.claim_number for job in again.jobs] == [1, 1]
    assert scene.counts().running == 2


def test_a_repeat_leaves_out_what_no_longer_runs(scene: Scene) -> None:
    """Of the jobs that a fence took, a repeat gives only those that still run."""
    scene.put_many(3)
    request = scene.request(scene.lease(), limit=2)
    first, second = scene.broker.claim(request).jobs
    scene.complete(first)
    assert [job.id for job in scene.broker.claim(request).jobs] == [second.id]


def test_a_spec_that_cannot_be_read_is_handed_out_with_its_flaw(scene: Scene) -> None:
    """Garbage in the store is claimed as a flaw, can be buried, and stops nobody behind it."""
    garbage = (b"", b"\xff\xfe", b'{"task":', b"[]", b'{"task":1,"payload":{}}', b"\x00", b"NaN")
    poisoned = scene.put_many(len(garbage), priority=9)
    behind = scene.put()
    for job_id, spec in zip(poisoned, garbage, strict=True):
        scene.harness.poison(job_id, spec)
    jobs = scene.claim(scene.lease(), limit=20)
    assert [job.id for job in jobs] == [*poisoned, behind]
    assert all(job.flaw and job.spec.task == "" for job in jobs[:-1])
    assert jobs[-1].flaw is None
    assert set(scene.broker.settle([bury(job) for job in jobs])) == {"applied"}
    assert scene.states(*poisoned) == [State.DEAD] * len(garbage)


def test_a_claim_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """Limits outside 1..BATCH_MAX, over OFFERS_MAX sets, a queue twice: nothing is claimed."""
    scene.put()
    lease = scene.lease()
    many = r.Offer(QUEUE, tuple(f"alone.m{n}" for n in range(r.OFFERS_MAX + 1)))
    shared = r.Offer(QUEUE, (SHARED,))
    for request in (
        scene.request(lease, limit=0),
        scene.request(lease, limit=r.BATCH_MAX + 1),
        scene.request(lease, many),
        scene.request(lease, shared, shared),
    ):
        with pytest.raises(UsageError):
            scene.broker.claim(request)
    assert scene.counts().running == 0


def test_a_full_batch_over_many_sets_is_claimed(scene: Scene) -> None:
    """BATCH_MAX jobs over OFFERS_MAX sets are within the bounds."""
    needs = tuple(f"alone.m{n}" for n in range(r.OFFERS_MAX))
    per_set = r.BATCH_MAX // r.OFFERS_MAX + 1
    for need in needs:
        scene.put_many(per_set, need=need)
    jobs = scene.claim(scene.lease(), r.Offer(QUEUE, needs), limit=r.BATCH_MAX)
    assert len(jobs) == r.BATCH_MAX
