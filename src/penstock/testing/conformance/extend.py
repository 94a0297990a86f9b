"""extend: let leases run on, and fetch the cancels requested under them."""

from __future__ import annotations

import pytest

from penstock.broker import requests as r
from penstock.errors import UsageError

from .scene import LEASE_MS, Scene, release


def test_an_extended_lease_runs_from_now(scene: Scene) -> None:
    """The new end is `ttl_ms` from the call, whatever was left before."""
    scene.put()
    lease = scene.lease()
    scene.harness.advance(LEASE_MS - 1)
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS) == r.ExtendAnswer(lost=(), cancels=())
    scene.harness.advance(LEASE_MS - 1)
    assert scene.broker.claim(scene.request(lease)).lease_open
    scene.harness.advance(1)
    assert not scene.broker.claim(scene.request(lease)).lease_open


def test_many_leases_are_extended_in_one_call(scene: Scene) -> None:
    """A supervisor extends all its leases at once; those not named are not extended."""
    first, second, third = scene.lease(), scene.lease(), scene.lease()
    scene.harness.advance(LEASE_MS - 1)
    scene.broker.extend([first, second], ttl_ms=LEASE_MS)
    scene.harness.advance(1)
    good = [scene.broker.claim(scene.request(lease)).lease_open for lease in (first, second, third)]
    assert good == [True, True, False]


def test_a_lease_that_ran_out_lives_again(scene: Scene) -> None:
    """Until somebody takes it over, a lease that ran out can be extended, jobs and all."""
    job_id = scene.put()
    lease = scene.lease()
    running = scene.run(job_id, lease)
    scene.harness.advance(5 * LEASE_MS)
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).lost == ()
    assert scene.broker.claim(scene.request(lease)).lease_open
    scene.complete(running)


def test_closed_and_unknown_leases_are_told_as_lost(scene: Scene) -> None:
    """A lost lease is named, and stays closed; the others in the call are extended."""
    good, closed, unknown = scene.lease(), scene.lease(), scene.new_lease_id()
    scene.broker.close_leases([closed])
    scene.harness.advance(LEASE_MS - 1)
    answer = scene.broker.extend([closed, good, unknown], ttl_ms=LEASE_MS)
    assert set(answer.lost) == {closed, unknown}
    scene.harness.advance(1)
    open_ones = [
        scene.broker.claim(scene.request(lease)).lease_open for lease in (good, closed, unknown)
    ]
    assert open_ones == [True, False, False]


def test_requested_cancels_are_told_until_they_are_settled(scene: Scene) -> None:
    """Each call tells each cancel, with the fence to act on, until the job has ended."""
    lease = scene.lease()
    first, second = scene.put_many(2)
    jobs = {job.id: job for job in scene.claim(lease)}
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).cancels == ()
    scene.broker.cancel([first])
    expected = (r.CancelNotice(first, jobs[first].fence, lease),)
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).cancels == expected
    assert scene.harness.open().extend([lease], ttl_ms=LEASE_MS).cancels == expected
    scene.settle(release(jobs[first]))
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).cancels == ()
    assert scene.broker.cancel([second]) == ["requested"]


def test_cancels_are_told_to_the_lease_they_run_under(scene: Scene) -> None:
    """A cancel of a job under another lease is that lease's business."""
    mine, other = scene.lease(), scene.lease()
    scene.run(scene.put(), mine)
    job = scene.run(scene.put(), other)
    scene.broker.cancel([job.id])
    assert scene.broker.extend([mine], ttl_ms=LEASE_MS).cancels == ()
    (notice,) = scene.broker.extend([mine, other], ttl_ms=LEASE_MS).cancels
    assert (notice.id, notice.lease) == (job.id, other)


def test_a_closed_lease_is_told_no_cancels(scene: Scene) -> None:
    """Whoever lost its lease has nothing left to cancel."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.cancel([job.id])
    scene.broker.close_leases([lease])
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS) == r.ExtendAnswer(
        lost=(lease,), cancels=()
    )


def test_no_leases_are_nothing_to_extend(scene: Scene) -> None:
    """An empty call answers empty; one over BATCH_MAX breaks the rule."""
    assert scene.broker.extend([], ttl_ms=LEASE_MS) == r.ExtendAnswer(lost=(), cancels=())
    with pytest.raises(UsageError):
        scene.broker.extend([scene.new_lease_id()] * (r.BATCH_MAX + 1), ttl_ms=LEASE_MS)
