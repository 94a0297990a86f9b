"""open_lease: open a lease for a process that will claim."""

from __future__ import annotations

import msgspec

from penstock.broker import requests as r
from penstock.core.capacity import Capacity
from penstock.core.ids import LeaseId

from .scene import LEASE_MS, OTHER, QUEUE, Scene

CAPACITY = Capacity(
    memory_bytes=2**40,
    slots=4,
    labels=("gpu", "gr\u00fc\u00dfe; 'x'"),
    gpu_memory_bytes=(80 * 2**30, 24 * 2**30),
    resources={"license": 2, "tape": 0},
)
"""Every field, with values that a careless store would spoil."""


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


def test_a_lease_tells_the_capacity_of_its_worker(scene: Scene) -> None:
    """Each open lease is listed with what it was opened with, on every handle; none stays none."""
    said, silent, empty = (scene.new_lease_id() for _ in range(3))
    request = opened(scene, said, LEASE_MS, QUEUE)
    scene.broker.open_lease(msgspec.structs.replace(request, capacity=CAPACITY))
    scene.broker.open_lease(opened(scene, silent, LEASE_MS, QUEUE))
    request = opened(scene, empty, LEASE_MS, OTHER)
    scene.broker.open_lease(msgspec.structs.replace(request, capacity=Capacity()))
    found = {facts.id: facts.capacity for facts in scene.harness.open().leases()}
    assert found == {said: CAPACITY, silent: None, empty: Capacity()}


def test_opening_again_changes_no_capacity(scene: Scene) -> None:
    """What the first call said stands: another capacity, or none, changes nothing."""
    said, silent = scene.new_lease_id(), scene.new_lease_id()
    with_it = msgspec.structs.replace(opened(scene, said, LEASE_MS, QUEUE), capacity=CAPACITY)
    without = opened(scene, silent, LEASE_MS, QUEUE)
    for request in (
        with_it,
        with_it,
        msgspec.structs.replace(with_it, capacity=Capacity(slots=1)),
        msgspec.structs.replace(with_it, capacity=None),
        without,
        msgspec.structs.replace(without, capacity=CAPACITY),
    ):
        scene.broker.open_lease(request)
    found = {facts.id: facts.capacity for facts in scene.broker.leases()}
    assert found == {said: CAPACITY, silent: None}


def test_a_capacity_outlives_extensions(scene: Scene) -> None:
    """It stands as long as the lease is open, and is listed no more once that is closed."""
    lease_id = scene.new_lease_id()
    request = opened(scene, lease_id, LEASE_MS, QUEUE)
    scene.broker.open_lease(msgspec.structs.replace(request, capacity=CAPACITY))
    scene.broker.extend([lease_id], ttl_ms=2 * LEASE_MS)
    assert [facts.capacity for facts in scene.broker.leases()] == [CAPACITY]
    scene.broker.close_leases([lease_id])
    assert list(scene.broker.leases()) == []
