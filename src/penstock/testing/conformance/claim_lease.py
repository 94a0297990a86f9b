"""claim: only under a good lease, and not from a paused queue."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from penstock.broker import requests as r
from penstock.core.ids import LeaseId
from penstock.core.job import SHARED
from penstock.core.lifecycle import State

from .cases import requires
from .harness import Capability
from .scene import DEADLINE_S, LEASE_MS, OTHER, QUEUE, Scene


def gives_nothing(scene: Scene, lease: LeaseId) -> bool:
    """Claim under `lease`; return whether the answer called it not open, and nothing ran."""
    answer = scene.broker.claim(scene.request(lease))
    assert answer.jobs == ()
    assert scene.counts().running == 0
    return not answer.lease_open


def test_a_claim_needs_a_known_lease(scene: Scene) -> None:
    """Under a lease that was never opened nothing is handed out."""
    scene.put()
    assert gives_nothing(scene, scene.new_lease_id())


def test_a_claim_needs_an_open_lease(scene: Scene) -> None:
    """A claim that arrives after its lease was closed takes nothing: a dead runner stays dead."""
    job_id = scene.put()
    lease = scene.lease()
    scene.harness.open().close_leases([lease])
    assert gives_nothing(scene, lease)
    assert scene.state(job_id) is State.QUEUED


def test_a_claim_needs_an_unexpired_lease(scene: Scene) -> None:
    """One millisecond before it runs out a lease is good, at the end it is not."""
    scene.put_many(2)
    lease = scene.lease(ttl_ms=LEASE_MS)
    scene.harness.advance(LEASE_MS - 1)
    assert len(scene.claim(lease, limit=1)) == 1
    scene.harness.advance(1)
    answer = scene.broker.claim(scene.request(lease))
    assert (answer.jobs, answer.lease_open) == ((), False)


@requires(Capability.THREADS)
def test_no_claim_wins_against_a_close(scene: Scene) -> None:
    """Claims that race a close take jobs before it or none at all: after it, never again."""
    scene.put_many(300)
    lease = scene.lease()
    requests = [scene.request(lease, limit=1) for _ in range(300)]
    has_begun = threading.Event()
    answers: list[r.ClaimAnswer] = []

    def claim_on() -> None:
        broker = scene.harness.open()
        for request in requests:
            answers.append(broker.claim(request))
            has_begun.set()

    with ThreadPoolExecutor(1) as pool:
        claiming = pool.submit(claim_on)
        assert has_begun.wait(DEADLINE_S)
        scene.broker.close_leases([lease])
        taken_by_then = scene.counts().running
        claiming.result(DEADLINE_S)
    is_open = [answer.lease_open for answer in answers]
    assert is_open == sorted(is_open, reverse=True), "a closed lease was open again"
    assert scene.counts().running == taken_by_then, "a claim won against a close"
    # Not always equal: an answer that was lost before the close cannot be asked for after it.
    assert sum(len(answer.jobs) for answer in answers) <= taken_by_then


@requires(Capability.BOOT_ID)
def test_a_claim_needs_a_lease_of_this_boot(scene: Scene) -> None:
    """A lease stamped under another boot is not open: its owner died with that boot."""
    scene.put()
    lease = scene.lease(ttl_ms=100 * LEASE_MS)
    scene.harness.reboot()
    assert gives_nothing(scene, lease)


def test_a_lease_runs_by_the_lease_clock(scene: Scene) -> None:
    """A wall clock that is set forward or back neither ends a lease nor lengthens it."""
    scene.put_many(2)
    lease = scene.lease()
    scene.harness.step_wall(3_600_000)
    assert len(scene.claim(lease, limit=1)) == 1
    scene.harness.step_wall(-7_200_000)
    scene.harness.advance(LEASE_MS)
    assert not scene.broker.claim(scene.request(lease)).lease_open


def test_a_lease_is_good_for_its_queues_only(scene: Scene) -> None:
    """A queue that the lease does not name gives nothing; the others give."""
    scene.put(OTHER, priority=9)
    mine = scene.put(QUEUE)
    lease = scene.lease(QUEUE)
    offers = (r.Offer(QUEUE, (SHARED,)), r.Offer(OTHER, (SHARED,)))
    answer = scene.broker.claim(scene.request(lease, *offers))
    assert [job.id for job in answer.jobs] == [mine]
    assert answer.lease_open


def test_a_claim_without_a_good_lease_writes_nothing(scene: Scene) -> None:
    """Not even due jobs are promoted for it."""
    job_id = scene.put(delay_ms=5)
    scene.harness.advance(5)
    assert gives_nothing(scene, scene.new_lease_id())
    assert scene.state(job_id) is State.SCHEDULED


def test_a_paused_queue_gives_nothing(scene: Scene) -> None:
    """While one queue is paused the others give; resumed, it gives again."""
    paused, other = scene.put(QUEUE, priority=9), scene.put(OTHER)
    lease = scene.lease()
    offers = (r.Offer(QUEUE, (SHARED,)), r.Offer(OTHER, (SHARED,)))
    scene.harness.open().pause(QUEUE)
    answer = scene.broker.claim(scene.request(lease, *offers))
    assert [job.id for job in answer.jobs] == [other]
    assert answer.lease_open
    scene.harness.open().resume(QUEUE)
    assert [job.id for job in scene.claim(lease)] == [paused]
