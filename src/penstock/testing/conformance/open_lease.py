"""open_lease: open a lease for a process that will claim."""

from __future__ import annotations

from penstock.broker import requests as r
from penstock.core.ids import LeaseId

from .scene import LEASE_MS, OTHER, QUEUE, Scene


def opened(scene: Scene, lease_id: LeaseId, ttl_ms: int, *queues: str) -> r.OpenLease:
    """Return a request to open `lease_id`."""
    return r.OpenLease(id=lease_id, queues=queues, owner=scene.owner(), ttl_ms=ttl_ms)


def test_an_open_lease_claims(scene: Scene) -> None:
    """A lease gives its queues, on every handle, from the moment it is open."""
    job_id = scene.put()
    lease_id = scene.new_lease_id()
    scene.harness.open().open_lease(opened(scene, lease_id, LEASE_MS, QUEUE))
    assert [job.id for job in scene.claim(lease_id)] == [job_id]


def test_a_lease_registers_its_queues(scene: Scene) -> None:
    """A worker may start before the first job of its queue: the name is known from then on."""
    lease_id = scene.new_lease_id()
    scene.broker.open_lease(opened(scene, lease_id, LEASE_MS, QUEUE, "new"))
    assert "new" in {counted.queue for counted in scene.broker.counts()}
    scene.tags |= scene.broker.register(["new"])
    job_id = scene.put("new")
    assert [job.id for job in scene.claim(lease_id, r.Offer("new", ("shared",)))] == [job_id]


def test_opening_again_changes_nothing(scene: Scene) -> None:
    """A second call with the same id neither lengthens nor shortens it, nor adds a queue."""
    scene.put(OTHER)
    lease_id = scene.new_lease_id()
    scene.broker.open_lease(opened(scene, lease_id, LEASE_MS, QUEUE))
    scene.broker.open_lease(opened(scene, lease_id, 10 * LEASE_MS, QUEUE, OTHER))
    (facts,) = scene.broker.leases()
    assert (facts.expires_in_ms, facts.queues) == (LEASE_MS, (QUEUE,))
    assert scene.claim(lease_id, r.Offer(OTHER, ("shared",))) == ()


def test_a_closed_lease_cannot_be_opened_again(scene: Scene) -> None:
    """Closed is for ever: a late opening of the same id gives nothing."""
    scene.put()
    lease_id = scene.new_lease_id()
    request = opened(scene, lease_id, LEASE_MS, QUEUE)
    scene.broker.open_lease(request)
    scene.broker.close_leases([lease_id])
    scene.broker.open_lease(request)
    assert not scene.broker.claim(scene.request(lease_id)).lease_open
    assert list(scene.broker.leases()) == []
