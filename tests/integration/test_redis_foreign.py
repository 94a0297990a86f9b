"""What somebody else wrote into the keys of a Redis stops no queue and no command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.broker import requests as r
from penstock.brokers.redis import RedisBroker
from penstock.core import settlement as s
from penstock.core.ids import JobId
from penstock.core.job import JobSpec, Reason
from penstock.core.lifecycle import State
from tests.support.port_actor import QUEUE, PortActor, completions
from tests.support.redis_server import RedisServer

#: What stands in place of a spec, head and all.
SPECS: dict[str, bytes] = {
    "destroyed": b"\xff\xfe garbage",
    "empty": b"",
    "a dot": b".",
    "cut off": b".12",
    "short": b"1;2;",
    "no instant": b"1;2;x;3;;;{}",
    "far away": b"." + b"9" * 400 + b";{",
    "before all time": b".-281474976710655;{",
    "no such priority": b";300;;;0;;{",
    "due when numbers end": b";;;;0;" + b"9" * 400 + b";{",
    "another ready set": b";1;elsewhere;" + b"9" * 400 + b";0;;{",
}


@pytest.fixture
def actor(redis: RedisServer) -> Iterator[PortActor]:
    """An actor on a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    with closing(RedisBroker.open(redis.url)) as broker:
        yield PortActor(broker)


def overwrite(redis: RedisServer, job: JobId, spec: bytes) -> None:
    """Write over the spec of a job."""
    with closing(redis.client()) as client:
        key, short = f"penstock:{{{QUEUE}}}:spec", bytes.fromhex(job[:16] + job[20:])
        assert client.hset(key, short, spec) == 0


def counted(actor: PortActor) -> tuple[int, int, int, int, int]:
    """Return how many are queued, running, completed, dead and cancelled."""
    (one,) = actor.broker.counts()
    return one.queued, one.running, one.completed, one.dead, one.cancelled


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_an_unreadable_spec_is_buried_and_the_jobs_behind_it_run(
    actor: PortActor, redis: RedisServer, spec: bytes
) -> None:
    """It is handed out with a flaw, listed, buried, given back, cancelled and forgotten."""
    broker = actor.broker
    bad, good = actor.put(2)
    overwrite(redis, bad, spec)
    one, two = actor.take(2)
    assert (one.id, two.id, two.flaw) == (bad, good, None)
    assert one.flaw
    bury = s.Bury(id=bad, fence=one.fence, outcome="bad_payload", reason=Reason.BAD_PAYLOAD)
    applied, answer = broker.cycle(
        [bury, *completions([two])], actor.claim_request(actor.lease(), limit=1)
    )
    assert list(applied) == [s.Applied.APPLIED] * 2
    assert not answer.jobs
    assert counted(actor) == (0, 0, 1, 1, 0)
    record = broker.get(bad)
    assert record is not None
    assert (record.state, record.reason) == (State.DEAD, Reason.BAD_PAYLOAD)
    page = broker.list_jobs(r.JobFilter(), limit=5, before=None)
    assert {job.id for job in page.jobs} == {bad, good}
    assert broker.requeue([bad]) == [r.OperatorAnswer.DONE]
    assert counted(actor) == (1, 0, 1, 0, 0)
    assert broker.cancel([bad]) == [r.CancelAnswer.CANCELLED]
    assert counted(actor) == (0, 0, 1, 0, 1)
    assert broker.delete([bad]) == [r.OperatorAnswer.DONE]
    assert counted(actor) == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_waiting_job_with_an_unreadable_spec_is_cancelled_for_good(
    actor: PortActor, redis: RedisServer, spec: bytes
) -> None:
    """No claim hands it out again, wherever its head pretended that it stands."""
    urgent = actor.request()
    asked = JobSpec(task="task", payload=urgent.spec.payload, priority=9)
    urgent = r.EnqueueRequest(id=urgent.id, queue=QUEUE, spec=asked)
    actor.broker.enqueue([urgent])
    (good,) = actor.put()
    overwrite(redis, urgent.id, spec)
    assert actor.broker.cancel([urgent.id]) == [r.CancelAnswer.CANCELLED]
    assert counted(actor) == (1, 0, 0, 0, 1)
    answer = actor.broker.claim(actor.claim_request(actor.lease(), limit=2))
    assert [job.id for job in answer.jobs] == [good]
