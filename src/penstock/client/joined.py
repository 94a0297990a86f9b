"""Enqueues inside the caller's own transaction: the jobs exist if and once it commits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from penstock.broker.requests import BATCH_MAX, Accepted, Refused
from penstock.client import flow
from penstock.client.builder import handles
from penstock.client.drive import drive
from penstock.errors import BadSetting, PenstockError, WrongContext

if TYPE_CHECKING:
    from penstock.broker.protocol import CallerConnection, JoiningEnqueuer
    from penstock.broker.requests import Durability, EnqueueRequest
    from penstock.client.client import Client
    from penstock.job import Job
    from penstock.task import Call

T = TypeVar("T")
Answers = Sequence[Accepted | Refused]


def enqueue_in(
    client: Client,
    connection: CallerConnection,
    calls: Sequence[Call[T]],
    durability: Durability | str | None = None,
) -> list[Job[T]]:
    """Enqueue calls in order through a connection; see `App.enqueue_many`."""
    enqueuer = _joining(client, calls, durability)
    answers: list[Accepted | Refused] = []
    for batch in _batches(client, calls):
        answers += enqueuer.enqueue_in(connection, batch)
    return _handles(client, calls, answers)


async def aenqueue_in(
    client: Client,
    connection: CallerConnection,
    calls: Sequence[Call[T]],
    durability: Durability | str | None = None,
) -> list[Job[T]]:
    """Enqueue calls in order through a connection of the running loop; see `App.enqueue_many`."""
    # Both may open the broker, and ask it for the tags of queues.
    enqueuer = await asyncio.to_thread(_joining, client, calls, durability)
    batches = await asyncio.to_thread(lambda: list(_batches(client, calls)))
    answers: list[Accepted | Refused] = []
    for batch in batches:
        answers += await enqueuer.aenqueue_in(connection, batch)
    return _handles(client, calls, answers)


def _joining(
    client: Client, calls: Sequence[Call[Any]], durability: Durability | str | None
) -> JoiningEnqueuer:
    """Return the enqueuer, which must be able to join a transaction.

    Raises:
        WrongContext: this is a child process, which has no broker.
        BadSetting: the broker has no transactions of others, or a call asks for durability.
    """
    asked = [durability, *(call.plan.durability for call in calls)]
    if any(asked):
        raise BadSetting(
            f"durability {next(filter(None, asked))} and connection are both given: the COMMIT of "
            "your transaction decides; set synchronous_commit in it instead"
        )
    enqueuer = client.enqueuer
    if hasattr(enqueuer, "enqueue_in"):
        return cast("JoiningEnqueuer", enqueuer)
    describe = getattr(enqueuer, "describe", None)
    if describe is None:
        raise WrongContext(
            "connection= was given in a child process, whose jobs go through its worker and cannot "
            "join a transaction: give the task isolation='thread', or enqueue after the commit"
        )
    facts = describe()
    raise BadSetting(
        f"connection= was given, and the jobs are in {facts.location} ({facts.kind}), which cannot "
        "join a transaction of PostgreSQL: give the app the postgresql:// URL of the database that "
        "the connection is on, or enqueue without connection= after the commit"
    )


def _batches(client: Client, calls: Sequence[Call[Any]]) -> Iterator[list[EnqueueRequest]]:
    missing = client.missing(calls)
    tags = (
        drive(flow.tags(missing, time.monotonic), client.enqueuer, client.pause) if missing else {}
    )
    requests = [request for request, _ in client.requests(calls, tags, None)]
    for start in range(0, len(requests), BATCH_MAX):
        yield requests[start : start + BATCH_MAX]


def _handles(client: Client, calls: Sequence[Call[Any]], answers: Answers) -> list[Job[Any]]:
    outcomes: list[Accepted | PenstockError] = [
        answer.error if isinstance(answer, Refused) else answer for answer in answers
    ]
    jobs = handles(client, calls, outcomes)
    for job in jobs:
        # The commit is still to come, and may never come; so no event is told either.
        job.durability = None
    return jobs
