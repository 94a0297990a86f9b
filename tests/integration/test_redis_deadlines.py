"""Claims on Redis in front of many jobs that are past their deadline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.brokers.redis import RedisBroker
from penstock.core.job import JobSpec
from tests.support.eventually import eventually
from tests.support.port_actor import QUEUE, PortActor
from tests.support.redis_server import RedisServer

#: More than one claim passes over.
LATE = 2_500
BATCH = 500


@pytest.fixture
def actor(redis: RedisServer) -> Iterator[PortActor]:
    """An actor on a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    with closing(RedisBroker.open(redis.url)) as broker:
        broker.register([QUEUE])
        yield PortActor(broker)


def test_a_claim_looks_at_a_bounded_number_of_late_jobs(actor: PortActor) -> None:
    """It brings no job and says to ask again at once; when `expire` was at work it brings one."""
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), expires_ms=1)
    for _ in range(LATE // BATCH):
        requests = [actor.request() for _ in range(BATCH)]
        late = [msgspec.structs.replace(one, spec=spec) for one in requests]
        answers = actor.broker.enqueue(late)
        assert all(isinstance(answer, r.Accepted) for answer in answers)
    (live,) = actor.put()
    lease = actor.lease()
    answer = actor.broker.claim(actor.claim_request(lease, limit=1))
    assert (answer.jobs, answer.next_due_in_ms) == ((), 0)
    eventually(
        lambda: actor.broker.expire([QUEUE], limit=BATCH) == 0, within_s=20, what="all to expire"
    )
    (job,) = actor.broker.claim(actor.claim_request(lease, limit=1)).jobs
    assert job.id == live
