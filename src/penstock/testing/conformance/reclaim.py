"""reclaim: take over running jobs, and what becomes of their former owners."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core import settlement as s
from penstock.core.job import Charges
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .cases import requires
from .harness import Capability
from .reaper import Reaper
from .scene import DEADLINE_S, LEASE_MS, OTHER, QUEUE, Scene, bury, complete, release, retry


def test_jobs_of_a_closed_lease_are_taken_at_once(scene: Scene) -> None:
    """A closed lease needs no waiting, not even in the grace window of the first call."""
    lease = scene.lease(worker="worker-5", pid=55)
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    reaper = Reaper(scene)
    (taken,) = reaper.tick().jobs
    assert taken.id == job.id
    assert taken.lease == reaper.lease
    assert taken.fence != job.fence
    assert (taken.worker, taken.pid) == ("worker-5", 55)


def test_a_taken_job_is_told_as_it_is(scene: Scene) -> None:
    """The taker gets the spec, the charges and the checkpoint, so that it can decide."""
    job_id = scene.put(retries=7)
    scene.settle(retry(scene.run(job_id), 0))
    lease = scene.lease()
    job = scene.run(job_id, lease)
    checkpoint = msgspec.Raw(b'{"row":7}')
    scene.broker.note([r.Note(id=job.id, fence=job.fence, checkpoint=checkpoint)])
    scene.broker.close_leases([lease])
    (taken,) = Reaper(scene).tick().jobs
    assert (taken.spec.retries, taken.charges) == (7, Charges(errors=1))
    assert taken.checkpoint == checkpoint
    assert (taken.claim_number, taken.claimed_at) == (job.claim_number, job.claimed_at)


def test_a_job_whose_lease_ran_out_is_taken(scene: Scene) -> None:
    """One millisecond before the end it is left alone; at the end it is taken, the lease closed."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    reaper.look_for(LEASE_MS - 1)
    assert reaper.taken == []
    scene.harness.advance(1)
    answer = reaper.tick()
    assert [taken.id for taken in answer.jobs] == [job.id]
    assert answer.closed == (lease,)
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).lost == (lease,)
    assert not scene.broker.claim(scene.request(lease)).lease_open


def test_a_lease_that_is_extended_is_left_alone(scene: Scene) -> None:
    """However long a job runs, while its lease lives nobody takes it."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    for _ in range(20):
        scene.broker.extend([lease], ttl_ms=LEASE_MS)
        reaper.look_for(LEASE_MS // 2)
    assert (reaper.taken, reaper.closed) == ([], [])
    assert scene.complete(job) is s.Applied.APPLIED


def test_a_lease_revived_before_the_reaper_came_is_left_alone(scene: Scene) -> None:
    """A late extend wins over a reaper that has not yet looked."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    reaper.look_for(LEASE_MS - 1)
    scene.harness.advance(2)
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).lost == ()
    assert reaper.tick().jobs == ()
    assert scene.complete(job) is s.Applied.APPLIED


def test_a_lease_without_jobs_is_closed_too(scene: Scene) -> None:
    """A lease that ran out is closed and told, whether or not anything ran under it."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    reaper.look_for(LEASE_MS)
    assert reaper.closed == [lease]


def test_the_former_owner_writes_nothing(scene: Scene) -> None:
    """After a takeover every write under the old fence is stale: result, note, release."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    (taken,) = Reaper(scene).tick().jobs
    before = scene.record(job.id)
    for kind in (complete, bury, release, retry):
        assert scene.settle(kind(job)) is s.Applied.STALE, kind
    note = r.Note(id=job.id, fence=job.fence, progress=msgspec.Raw(b"1"), log=("late",))
    assert list(scene.broker.note([note])) == [False]
    assert scene.record(job.id) == before
    assert scene.settle(release(taken)) is s.Applied.APPLIED


def test_a_taken_job_still_runs(scene: Scene) -> None:
    """Until the taker settles, the job runs, is handed to nobody, and its attempt goes on."""
    lease = scene.lease(worker="worker-5", pid=55)
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    reaper = Reaper(scene)
    (taken,) = reaper.tick().jobs
    record = scene.record(job.id)
    assert (record.state, record.claim_number) == (State.RUNNING, 1)
    assert [(a.worker, a.pid, a.outcome) for a in record.attempts] == [("worker-5", 55, None)]
    assert scene.claim(scene.lease()) == ()
    scene.settle(msgspec.structs.replace(release(taken), outcome="lost"))
    (attempt,) = scene.record(job.id).attempts
    assert (attempt.worker, attempt.pid, attempt.outcome) == ("worker-5", 55, "lost")
    assert scene.run(job.id).claim_number == 2


def test_a_taken_job_is_taken_once(scene: Scene) -> None:
    """Of two reapers one gets the job."""
    lease = scene.lease()
    scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    first, second = Reaper(scene), Reaper(scene)
    assert (len(first.tick().jobs), len(second.tick().jobs)) == (1, 0)
    assert first.tick().jobs == ()


def test_a_dead_taker_is_taken_over_in_turn(scene: Scene) -> None:
    """A job belongs to its taker's lease: when that is closed, another reaper takes it."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    first, second = Reaper(scene), Reaper(scene)
    (taken,) = first.tick().jobs
    scene.broker.close_leases([first.lease])
    (again,) = second.tick().jobs
    assert again.id == job.id
    assert again.fence not in (job.fence, taken.fence)
    assert scene.settle(release(taken)) is s.Applied.STALE


def test_a_requested_cancel_outlives_the_owner(scene: Scene) -> None:
    """The taker's release of a job whose cancel was requested ends it cancelled."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.cancel([job.id])
    scene.broker.close_leases([lease])
    reaper = Reaper(scene)
    (taken,) = reaper.tick().jobs
    (notice,) = scene.broker.extend([reaper.lease], ttl_ms=LEASE_MS).cancels
    assert (notice.id, notice.fence, notice.lease) == (job.id, taken.fence, reaper.lease)
    assert scene.settle(release(taken)) is s.Applied.CANCELLED


def test_only_the_named_queues_are_reaped(scene: Scene) -> None:
    """Jobs of other queues stay with their closed lease until their reaper comes."""
    lease = scene.lease()
    mine, other = scene.run(scene.put(QUEUE), lease), scene.run(scene.put(OTHER), lease)
    scene.broker.close_leases([lease])
    assert [job.id for job in Reaper(scene, QUEUE).tick().jobs] == [mine.id]
    assert [job.id for job in Reaper(scene, OTHER).tick().jobs] == [other.id]


def test_leases_of_other_queues_are_left_alone(scene: Scene) -> None:
    """A lease that has nothing to do with the reaper's queues is not closed by it."""
    reaper = Reaper(scene, QUEUE).warm_up()
    other = scene.lease(OTHER)
    reaper.look_for(2 * LEASE_MS)
    assert reaper.closed == []
    assert other in {lease.id for lease in scene.broker.leases()}


def test_no_more_than_the_limit_is_taken(scene: Scene) -> None:
    """What one call leaves the next one takes, though their lease is closed by then."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    jobs = scene.put_many(5)
    scene.claim(lease)
    reaper.look_for(LEASE_MS - 1)
    scene.harness.advance(1)
    counts = [len(reaper.tick(limit=2).jobs) for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    assert sorted(job.id for job in reaper.taken) == jobs


def test_a_taker_needs_a_good_lease(scene: Scene) -> None:
    """Under a lease that is unknown, closed, run out or of another queue nothing is taken."""
    lease = scene.lease()
    scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    unknown, closed, late, elsewhere = (Reaper(scene) for _ in range(4))
    unknown.lease = scene.new_lease_id()
    scene.broker.close_leases([closed.lease])
    for reaper in (unknown, closed):
        assert scene.broker.reclaim(reaper.request()).jobs == ()
    scene.harness.advance(LEASE_MS)
    elsewhere.lease = scene.lease(OTHER)
    for reaper in (late, elsewhere):
        assert scene.broker.reclaim(reaper.request()).jobs == ()
    assert len(Reaper(scene).tick().jobs) == 1


def test_a_repeat_answers_with_what_was_taken(scene: Scene) -> None:
    """The same lease and fence again give the same jobs, and no more than the limit in all."""
    lease = scene.lease()
    scene.put_many(3)
    scene.claim(lease)
    scene.broker.close_leases([lease])
    reaper = Reaper(scene)
    request = reaper.request(limit=2)
    first = scene.broker.reclaim(request)
    again = scene.broker.reclaim(request)
    assert len(first.jobs) == 2
    assert [(j.id, j.worker, j.pid) for j in again.jobs] == [
        (j.id, j.worker, j.pid) for j in first.jobs
    ]


def test_a_spec_that_cannot_be_read_is_taken_with_its_flaw(scene: Scene) -> None:
    """Garbage in the store does not keep a reaper from its work."""
    lease = scene.lease()
    poisoned, good = scene.put_many(2)
    scene.claim(lease)
    scene.harness.poison(poisoned, b"\xff{")
    scene.broker.close_leases([lease])
    flaws = {job.id: job.flaw for job in Reaper(scene).tick().jobs}
    assert flaws[poisoned]
    assert flaws[good] is None


@requires(Capability.THREADS)
def test_a_settlement_and_a_takeover_never_both_win(scene: Scene) -> None:
    """Settlements that race a reaper: each job is settled by its owner or taken, never both."""
    lease = scene.lease()
    scene.put_many(200)
    jobs = scene.claim(lease, limit=200)
    scene.broker.close_leases([lease])
    owner, reaper = scene.harness.open(), Reaper(scene)
    requests = [reaper.request(limit=2) for _ in jobs]
    with ThreadPoolExecutor(2) as pool:
        settling = pool.submit(lambda: [owner.settle([complete(job)])[0] for job in reversed(jobs)])
        taking = pool.submit(lambda: [scene.broker.reclaim(request).jobs for request in requests])
        taken = {job.id for part in taking.result(DEADLINE_S) for job in part}
        answers = list(zip(reversed(jobs), settling.result(DEADLINE_S), strict=True))
    settled = {job.id for job, applied in answers if applied is s.Applied.APPLIED}
    assert not settled & taken
    assert settled | taken == {job.id for job in jobs}
    assert (scene.counts().completed, scene.counts().running) == (len(settled), len(taken))


def test_a_limit_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """A limit outside 1..BATCH_MAX breaks the rule."""
    reaper = Reaper(scene)
    for limit in (0, r.BATCH_MAX + 1):
        with pytest.raises(UsageError):
            scene.broker.reclaim(reaper.request(limit=limit))
