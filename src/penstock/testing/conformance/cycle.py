"""cycle: settle, then claim, in one round trip."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core import settlement as s
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .scene import Scene, bury, complete, release


def test_it_settles_and_claims(scene: Scene) -> None:
    """The finished are settled and the next are claimed, each as its own verb would."""
    scene.put_many(4)
    lease = scene.lease()
    first, second = scene.claim(lease, limit=2)
    request = scene.request(lease, limit=2)
    applied, answer = scene.broker.cycle([complete(first), bury(second)], request)
    assert list(applied) == [s.Applied.APPLIED, s.Applied.APPLIED]
    assert [job.fence for job in answer.jobs] == [request.fence] * 2
    assert scene.states(first.id, second.id) == [State.COMPLETED, State.DEAD]
    assert scene.counts().running == 2


def test_the_claim_sees_what_the_settlements_made(scene: Scene) -> None:
    """A child that is unblocked and a job that is released can be claimed in the same call."""
    parent, other = scene.put_many(2)
    child = scene.put(after=(parent,))
    lease = scene.lease()
    jobs = scene.claim(lease)
    settlements: list[s.Settlement] = [complete(jobs[0]), release(jobs[1])]
    _, answer = scene.broker.cycle(settlements, scene.request(lease))
    assert [job.id for job in answer.jobs] == [other, child]


def test_nothing_to_settle_is_a_claim(scene: Scene) -> None:
    """Without settlements it claims."""
    job_id = scene.put()
    applied, answer = scene.broker.cycle([], scene.request(scene.lease()))
    assert list(applied) == []
    assert [job.id for job in answer.jobs] == [job_id]


def test_a_stale_settlement_does_not_stop_the_claim(scene: Scene) -> None:
    """Answers are those of the two verbs, each with its own guard."""
    job = scene.run(scene.put())
    next_id = scene.put()
    stale = msgspec.structs.replace(job, fence=scene.new_fence())
    applied, answer = scene.broker.cycle([complete(stale)], scene.request(scene.lease()))
    assert list(applied) == [s.Applied.STALE]
    assert [claimed.id for claimed in answer.jobs] == [next_id]


def test_a_closed_lease_settles_but_does_not_claim(scene: Scene) -> None:
    """What was done is kept although the lease is gone; nothing new is handed out."""
    scene.put()
    lease = scene.lease()
    job = scene.run(scene.put(priority=9), lease)
    scene.settle(release(scene.run(scene.put(), lease)))
    scene.broker.close_leases([lease])
    applied, answer = scene.broker.cycle([complete(job)], scene.request(lease))
    assert list(applied) == [s.Applied.APPLIED]
    assert (answer.jobs, answer.lease_open) == ((), False)


def test_a_broken_rule_writes_nothing(scene: Scene) -> None:
    """A bad claim keeps the settlements from being applied: the call is refused as a whole."""
    job = scene.run(scene.put())
    scene.put()
    lease = scene.lease()
    twice: list[s.Settlement] = [complete(job), bury(job)]
    with pytest.raises(UsageError):
        scene.broker.cycle([complete(job)], scene.request(lease, limit=0))
    with pytest.raises(UsageError):
        scene.broker.cycle(twice, scene.request(lease))
    assert scene.state(job.id) is State.RUNNING
    assert scene.counts().queued == 1
