"""restate: say anew what the worker behind a lease can take."""

from __future__ import annotations

import msgspec

from penstock.core.capacity import Capacity, Stance

from .open_lease import CAPACITY, opened
from .scene import LEASE_MS, QUEUE, Scene

NOW = msgspec.structs.replace(
    CAPACITY,
    stance=Stance(is_quiet=True, is_pressed=True, held_for=("q", "alone.m3"), held_bytes=2**40),
)


def test_another_capacity_is_told(scene: Scene) -> None:
    """On every handle, whatever was said before, or nothing; a later word replaces it."""
    said, silent, other = (scene.new_lease_id() for _ in range(3))
    request = opened(scene, said, LEASE_MS, QUEUE)
    scene.broker.open_lease(msgspec.structs.replace(request, capacity=CAPACITY))
    scene.broker.open_lease(opened(scene, silent, LEASE_MS, QUEUE))
    scene.broker.open_lease(opened(scene, other, LEASE_MS, QUEUE))
    scene.broker.restate(said, NOW)
    scene.broker.restate(silent, Capacity(slots=1))
    scene.broker.restate(silent, NOW)
    found = {facts.id: facts.capacity for facts in scene.harness.open().leases()}
    assert found == {said: NOW, silent: NOW, other: None}
    scene.broker.restate(said, CAPACITY)
    found = {facts.id: facts.capacity for facts in scene.broker.leases()}
    assert found == {said: CAPACITY, silent: NOW, other: None}


def test_no_lease_lives_longer(scene: Scene) -> None:
    """Neither one that is open nor one that was closed; its queues stay."""
    lease, closed = scene.new_lease_id(), scene.new_lease_id()
    for one in (lease, closed):
        scene.broker.open_lease(opened(scene, one, LEASE_MS, QUEUE))
    scene.broker.close_leases([closed])
    scene.harness.advance(1_000)
    for one in (lease, closed):
        scene.broker.restate(one, NOW)
    (facts,) = scene.broker.leases()
    assert (facts.id, facts.queues, facts.expires_in_ms) == (lease, (QUEUE,), LEASE_MS - 1_000)


def test_a_lease_that_is_not_known_is_left_alone(scene: Scene) -> None:
    """Nothing is opened; when it is, what it was opened with is told."""
    lease = scene.new_lease_id()
    scene.broker.restate(lease, NOW)
    assert list(scene.broker.leases()) == []
    request = opened(scene, lease, LEASE_MS, QUEUE)
    scene.broker.open_lease(msgspec.structs.replace(request, capacity=CAPACITY))
    assert [facts.capacity for facts in scene.broker.leases()] == [CAPACITY]
