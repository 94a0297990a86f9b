"""close_leases: end leases for ever."""

from __future__ import annotations

from penstock.core.lifecycle import State

from .scene import LEASE_MS, Scene


def test_a_closed_lease_is_over(scene: Scene) -> None:
    """It claims nothing, is told as lost, and is not listed any more."""
    lease, other = scene.lease(), scene.lease()
    scene.put()
    scene.broker.close_leases([lease])
    assert not scene.broker.claim(scene.request(lease)).lease_open
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).lost == (lease,)
    assert [facts.id for facts in scene.broker.leases()] == [other]


def test_many_leases_are_closed_in_one_call(scene: Scene) -> None:
    """Those named are closed, unknown ones are passed over, the others stay open."""
    first, second, third = scene.lease(), scene.lease(), scene.lease()
    scene.broker.close_leases([first, scene.new_lease_id(), second])
    assert [facts.id for facts in scene.broker.leases()] == [third]


def test_closing_twice_is_closing_once(scene: Scene) -> None:
    """A repeat changes nothing, and nothing at all may be closed."""
    lease = scene.lease()
    scene.broker.close_leases([])
    scene.broker.close_leases([lease])
    scene.broker.close_leases([lease])
    assert list(scene.broker.leases()) == []


def test_its_jobs_run_on(scene: Scene) -> None:
    """Closing moves no job: what runs stays running until somebody takes it."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    assert scene.state(job.id) is State.RUNNING
    assert scene.claim(scene.lease()) == ()
