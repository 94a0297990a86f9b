"""Every verb called again with the same arguments: the end is that of one call.

This is what `OutcomeUnknown` allows: whoever does not know whether a write happened repeats it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock.broker import requests as r
from penstock.core import settlement as s
from penstock.core.capacity import Capacity
from penstock.core.job import SHARED, Claimed
from penstock.core.lifecycle import FINAL, State

from .reaper import Reaper
from .scene import LEASE_MS, OTHER, QUEUE, Scene, bury, complete, discard, release, retry, snooze
from .snapshot import snapshot

Answer = TypeVar("Answer")


def twice(scene: Scene, call: Callable[[], Answer]) -> tuple[Answer, Answer]:
    """Make `call` twice; the second must change nothing that can be seen. Return both answers."""
    first = call()
    before = snapshot(scene.broker)
    second = call()
    assert snapshot(scene.broker) == before
    return first, second


def test_register(scene: Scene) -> None:
    """A repeat gives the same tags."""
    first, second = twice(scene, lambda: scene.broker.register(["new", QUEUE]))
    assert first == second


def test_enqueue(scene: Scene) -> None:
    """A repeat of the same ids stores nothing, and answers as duplicates of the same jobs."""
    parent = scene.job(key="k", key_digest="d")
    batch = [parent, scene.job(after=(parent.id,)), scene.job(delay_ms=5)]
    first, second = twice(scene, lambda: scene.accept(*batch))
    assert [answer.id for answer in second] == [answer.id for answer in first]
    assert all(answer.duplicate for answer in second)


def test_enqueue_with_a_key(scene: Scene) -> None:
    """A repeat under another id but the same key is the same job: no double on a lost reply."""
    (first,) = scene.accept(scene.job(key="k", key_digest="d"))
    (second,) = scene.accept(scene.job(key="k", key_digest="d"))
    assert (second.id, second.duplicate) == (first.id, True)
    assert scene.counts().queued == 1


def test_enqueue_that_was_refused(scene: Scene) -> None:
    """A repeat of a refused job is refused again."""
    request = scene.job(after=(scene.new_id(),))
    first, second = twice(scene, lambda: scene.refuse(request))
    assert type(first) is type(second)


def test_open_lease(scene: Scene) -> None:
    """A repeat opens nothing more."""
    lease = r.OpenLease(
        id=scene.new_lease_id(), queues=(QUEUE,), owner=scene.owner(), ttl_ms=LEASE_MS
    )
    twice(scene, lambda: scene.broker.open_lease(lease))


def test_extend(scene: Scene) -> None:
    """A repeat within the same millisecond finds the same end, the same lost, the same cancels."""
    lease, lost = scene.lease(), scene.new_lease_id()
    job = scene.run(scene.put(), lease)
    scene.broker.cancel([job.id])
    first, second = twice(scene, lambda: scene.broker.extend([lease, lost], ttl_ms=LEASE_MS))
    assert first == second
    assert len(first.cancels) == len(first.lost) == 1


def test_close_leases(scene: Scene) -> None:
    """A repeat closes nothing more."""
    lease = scene.lease()
    twice(scene, lambda: scene.broker.close_leases([lease]))


def test_restate(scene: Scene) -> None:
    """A repeat says the same again."""
    lease = scene.lease()
    twice(scene, lambda: scene.broker.restate(lease, Capacity(slots=3)))
    assert [facts.capacity for facts in scene.broker.leases()] == [Capacity(slots=3)]


def test_claim(scene: Scene) -> None:
    """A repeat answers with the same jobs, so that none is left running with nobody."""
    scene.put_many(5)
    request = scene.request(scene.lease(), limit=3)
    first, second = twice(scene, lambda: scene.broker.claim(request))
    assert len(first.jobs) == 3
    assert first == second


def test_claim_of_nothing(scene: Scene) -> None:
    """A repeat of an idle claim is an idle claim."""
    scene.put(delay_ms=50)
    request = scene.request(scene.lease())
    first, second = twice(scene, lambda: scene.broker.claim(request))
    assert first == second


def test_settle(scene: Scene) -> None:
    """A repeat is stale for every kind: nothing is charged, counted or retried twice."""
    scene.put_many(6)
    jobs = scene.claim(scene.lease())
    kinds: tuple[Callable[[Claimed], s.Settlement], ...] = (
        complete,
        retry,
        bury,
        snooze,
        release,
        discard,
    )
    batch: list[s.Settlement] = [kind(job) for kind, job in zip(kinds, jobs, strict=True)]
    first, second = twice(scene, lambda: list(scene.broker.settle(batch)))
    assert first == [s.Applied.APPLIED] * 6
    assert second == [s.Applied.STALE] * 6


def test_settle_with_children(scene: Scene) -> None:
    """A repeated completion counts no child down twice."""
    first_parent, other = scene.put(), scene.put(delay_ms=60_000)
    child = scene.put(after=(first_parent, other))
    job = scene.run(first_parent)
    twice(scene, lambda: scene.settle(complete(job)))
    assert scene.state(child) is State.BLOCKED


def test_cycle(scene: Scene) -> None:
    """A repeat settles nothing again and answers with the jobs that the first call took."""
    scene.put_many(3)
    lease = scene.lease()
    (job,) = scene.claim(lease, limit=1)
    request = scene.request(lease, limit=1)
    first, second = twice(scene, lambda: scene.broker.cycle([complete(job)], request))
    assert list(first[0]) == [s.Applied.APPLIED]
    assert list(second[0]) == [s.Applied.STALE]
    assert first[1] == second[1]


def test_note(scene: Scene) -> None:
    """A repeat writes the same values; log lines alone are appended again, as the port says."""
    job = scene.run(scene.put())
    raw = msgspec.Raw(b"1")
    note = r.Note(id=job.id, fence=job.fence, progress=raw, checkpoint=raw)
    first, second = twice(scene, lambda: list(scene.broker.note([note])))
    assert first == second == [True]


def test_learn(scene: Scene) -> None:
    """A repeat adds again, as the port says, and touches nothing else."""
    tallies = [r.Tally("p", {"runs": 1.0}), r.Tally("p", {"runs": 2.0})]
    twice(scene, lambda: scene.broker.learn(tallies))
    assert scene.broker.footprints(["p"]) == {"p": {"runs": 6.0}}


def test_promote(scene: Scene) -> None:
    """A repeat finds nothing due."""
    scene.put_many(3, delay_ms=5)
    scene.harness.advance(5)
    assert twice(scene, lambda: scene.broker.promote([QUEUE], limit=10)) == (3, 0)


def test_expire(scene: Scene) -> None:
    """A repeat finds nothing late."""
    parent = scene.put(expires_ms=5)
    scene.put(after=(parent,))
    scene.harness.advance(5)
    assert twice(scene, lambda: scene.broker.expire([QUEUE], limit=10)) == (1, 0)


def test_reclaim(scene: Scene) -> None:
    """A repeat answers with the same jobs, so that none is left with a taker who does not know."""
    lease = scene.lease()
    scene.put_many(5)
    scene.claim(lease)
    scene.broker.close_leases([lease])
    request = Reaper(scene).request(limit=3)
    first, second = twice(scene, lambda: scene.broker.reclaim(request))
    assert len(first.jobs) == 3
    assert sorted(first.jobs, key=lambda job: job.id) == sorted(second.jobs, key=lambda job: job.id)


def test_prune(scene: Scene) -> None:
    """A repeat finds nothing to drop."""
    for state in sorted(FINAL):
        scene.in_state(state)
    scene.complete(scene.run(scene.put(OTHER, result_ttl_ms=0)), b"1")
    rules = [r.Retention(state=state, age_ms=0, count_max=9) for state in sorted(FINAL)]
    assert twice(scene, lambda: scene.broker.prune([QUEUE], rules, limit=50)) == (4, 0)
    assert twice(scene, lambda: scene.broker.prune([OTHER], [], limit=50)) == (1, 0)


def test_cancel(scene: Scene) -> None:
    """A repeat finds the waiting job cancelled and the running one asked."""
    parent, running = scene.in_state(State.SCHEDULED), scene.in_state(State.RUNNING)
    scene.put(after=(parent,))
    first, second = twice(scene, lambda: list(scene.broker.cancel([parent, running])))
    assert first == ["cancelled", "requested"]
    assert second == ["too_late", "requested"]


def test_requeue(scene: Scene) -> None:
    """A repeat finds the job queued, and counts no child up twice."""
    done, other = scene.put(OTHER), scene.put(QUEUE, delay_ms=60_000)
    child = scene.put(after=(done, other))
    scene.complete(scene.run(done))
    first, second = twice(scene, lambda: list(scene.broker.requeue([done])))
    assert (first, second) == (["done"], ["wrong_state"])
    assert scene.record(child).parents_left == 2


def test_delete(scene: Scene) -> None:
    """A repeat finds nothing."""
    job_id = scene.in_state(State.DEAD)
    first, second = twice(scene, lambda: list(scene.broker.delete([job_id])))
    assert (first, second) == (["done"], ["not_found"])


def test_pause_and_resume(scene: Scene) -> None:
    """A repeat pauses and resumes nothing more."""
    scene.put()
    twice(scene, lambda: scene.broker.pause(QUEUE))
    twice(scene, lambda: scene.broker.resume(QUEUE))
    assert len(scene.claim(scene.lease(), r.Offer(QUEUE, (SHARED,)))) == 1
