"""What is kept of usages is bounded, on every broker, however often a job is claimed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import psycopg
import pytest
from redis import Redis

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.brokers.redis.stored import to_short
from penstock.connect import connect, sqlite_path
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import ATTEMPTS_KEPT, SHARED, JobSpec
from penstock.core.usage import Usage
from tests.support.brokers import KINDS, Brokers, Kind

QUEUE = "q"
"""The queue of the job."""


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    """Empty brokers of every kind."""
    with Brokers() as found:
        yield found


def release_often(broker: Broker, times: int) -> JobId:
    """Claim a job and give it back with a usage, again and again; return its id."""
    tag = broker.register([QUEUE])[QUEUE]
    job_id = JobIdSource().draw(1_700_000_000_000, tag, 1)
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"))
    broker.enqueue([r.EnqueueRequest(id=job_id, queue=QUEUE, spec=spec)])
    lease = LeaseId(secrets.token_hex(16))
    owner = r.Owner("w@1-abc", "here", "boot", 0, 1, 0)
    broker.open_lease(r.OpenLease(id=lease, queues=(QUEUE,), owner=owner, ttl_ms=600_000))
    for _ in range(times):
        request = r.ClaimRequest(
            lease=lease,
            offers=(r.Offer(QUEUE, (SHARED,)),),
            limit=1,
            fence=Fence(secrets.token_hex(16)),
        )
        [job] = broker.claim(request).jobs
        end = s.Release(id=job.id, fence=job.fence, outcome="interrupted", usage=Usage(cpu_ms=1))
        assert list(broker.settle([end])) == [s.Applied.APPLIED]
    return job_id


def stored_usages(url: str, job_id: JobId) -> int:
    """Return how many usages of a job there are, behind the back of the adapters."""
    if url.startswith("redis"):
        with closing(Redis.from_url(url)) as client:
            note = client.hgetall(b"penstock:{%b}:note:%b" % (QUEUE.encode(), to_short(job_id)))
            return len(note)
    if url.startswith("sqlite"):
        with closing(apsw.Connection(str(sqlite_path(url)))) as file:
            return len(file.execute("SELECT 1 FROM usage WHERE job = ?1", (job_id,)).fetchall())
    with closing(psycopg.connect(url)) as server:
        sql = "SELECT 1 FROM penstock.usage WHERE job = %s"
        return len(server.execute(sql, (job_id,)).fetchall())


@pytest.mark.parametrize("kind", KINDS)
def test_usages_of_old_attempts_are_dropped(kind: Kind, brokers: Brokers, tmp_path: Path) -> None:
    """A job that is claimed for ever keeps those of its last attempts alone."""
    url = brokers.url(kind, tmp_path)
    with closing(connect(url)) as broker:
        job_id = release_often(broker, ATTEMPTS_KEPT + 5)
        record = broker.get(job_id)
    assert record is not None
    assert [attempt.usage for attempt in record.attempts] == [Usage(cpu_ms=1)] * ATTEMPTS_KEPT
    assert stored_usages(url, job_id) == ATTEMPTS_KEPT
