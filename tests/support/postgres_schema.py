"""Tables of a test's own in the shared server, with the server's real clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import psycopg

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core.ids import Fence, JobId, LeaseId, make_job_id
from penstock.core.job import SHARED, Claimed, JobSpec
from tests.support.postgres_server import shared_server

QUEUE = "q"
"""The queue of these tests."""


@contextmanager
def fresh_schema() -> Iterator[str]:
    """Yield a URL whose schema nobody has used; it is dropped afterwards."""
    name = f"test_{secrets.token_hex(4)}"
    try:
        yield f"{shared_server().url}?schema={name}"
    finally:
        drop = f'DROP SCHEMA IF EXISTS "{name}" CASCADE'
        with closing(psycopg.connect(shared_server().url, autocommit=True)) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute(drop.encode())


def schema_of(url: str) -> str:
    """Return the schema that `fresh_schema` put into a URL."""
    return url.rpartition("=")[2]


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement on the tables that `url` names, by their bare names."""
    with closing(psycopg.connect(url.partition("?")[0], autocommit=True)) as connection:
        connection.execute(f'SET search_path = "{schema_of(url)}"'.encode())
        return connection.execute(sql.encode()).fetchall()


def new_job(broker: Broker, **fields: Any) -> r.EnqueueRequest:
    """Return a request for one job of `QUEUE`; keywords go to its spec, `id` to the request."""
    tag = broker.register([QUEUE])[QUEUE]
    drawn = make_job_id(time.time_ns() // 1_000_000, 0, tag, secrets.randbits(48))
    job_id = JobId(fields.pop("id", drawn))
    payload = fields.pop("payload", msgspec.Raw(b"{}"))
    spec = JobSpec(task="task", payload=payload, **fields)
    return r.EnqueueRequest(id=job_id, queue=QUEUE, spec=spec)


def put(broker: Broker, count: int = 1) -> list[JobId]:
    """Enqueue jobs and return their ids; each must be accepted."""
    answers = broker.enqueue([new_job(broker) for _ in range(count)])
    assert all(isinstance(answer, r.Accepted) for answer in answers), answers
    return [answer.id for answer in answers if isinstance(answer, r.Accepted)]


def open_lease(broker: Broker) -> LeaseId:
    """Open a lease of a minute for `QUEUE`."""
    lease = LeaseId(secrets.token_hex(16))
    owner = r.Owner("worker", "host", "boot", 1, 2, 3)
    broker.open_lease(r.OpenLease(id=lease, queues=(QUEUE,), owner=owner, ttl_ms=60_000))
    return lease


def claim(
    broker: Broker, lease: LeaseId, *, limit: int = 10, wake_token: str | None = None
) -> tuple[Claimed, ...]:
    """Claim jobs of `QUEUE`."""
    request = r.ClaimRequest(
        lease=lease,
        offers=(r.Offer(QUEUE, (SHARED,)),),
        limit=limit,
        fence=Fence(secrets.token_hex(16)),
        wake_token=wake_token,
    )
    return broker.claim(request).jobs


def counted(broker: Broker) -> r.QueueCounts:
    """Return the counters of `QUEUE`."""
    return next(counts for counts in broker.counts() if counts.queue == QUEUE)
