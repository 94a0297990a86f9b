"""close: let go of connections and files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.broker import requests as r
from penstock.core.settlement import Complete
from penstock.errors import WrongContext

from .scene import QUEUE, Scene


def test_a_closed_broker_refuses_every_verb(scene: Scene) -> None:
    """Later calls raise WrongContext, and write nothing."""
    lease = scene.lease()
    job = scene.job()
    reclaim = r.ReclaimRequest(
        lease=lease, queues=(QUEUE,), fence=scene.new_fence(), limit=1, lease_ttl_ms=1
    )
    opened = r.OpenLease(
        id=scene.new_lease_id(), queues=(QUEUE,), owner=scene.owner(), ttl_ms=1_000
    )
    settlement = Complete(id=job.id, fence=scene.new_fence(), outcome="succeeded", result=None)
    broker = scene.harness.open()
    broker.register([QUEUE])
    broker.close()
    calls: list[Callable[[], object]] = [
        lambda: broker.register(["new"]),
        lambda: broker.register([QUEUE]),
        lambda: broker.enqueue([job]),
        lambda: broker.open_lease(opened),
        lambda: broker.extend([lease], ttl_ms=1),
        lambda: broker.close_leases([lease]),
        lambda: broker.claim(scene.request(lease)),
        lambda: broker.settle([settlement]),
        lambda: broker.cycle([], scene.request(lease)),
        lambda: broker.note([r.Note(id=job.id, fence=settlement.fence)]),
        lambda: broker.promote([QUEUE], limit=1),
        lambda: broker.expire([QUEUE], limit=1),
        lambda: broker.reclaim(reclaim),
        lambda: broker.prune([QUEUE], [], limit=1),
        lambda: broker.peek([job.id]),
        lambda: broker.get(job.id),
        lambda: broker.list_jobs(r.JobFilter(), limit=1, before=None),
        broker.counts,
        lambda: broker.needs([QUEUE]),
        broker.leases,
        broker.describe,
        lambda: broker.cancel([job.id]),
        lambda: broker.requeue([job.id]),
        lambda: broker.delete([job.id]),
        lambda: broker.pause(QUEUE),
        lambda: broker.resume(QUEUE),
        broker.listen,
    ]
    for number, call in enumerate(calls):
        with pytest.raises(WrongContext):
            pytest.fail(f"call {number} answered {call()}")
    assert scene.all_jobs() == []
    assert [facts.id for facts in scene.broker.leases()] == [lease]


def test_closing_twice_is_closing_once(scene: Scene) -> None:
    """A second close does nothing."""
    broker = scene.harness.open()
    broker.close()
    broker.close()


def test_other_handles_go_on(scene: Scene) -> None:
    """A handle closes itself, not the store."""
    job_id = scene.put()
    scene.harness.open().close()
    assert [job.id for job in scene.claim(scene.lease())] == [job_id]
