"""A worker small enough for one thread: claim one job, run it, settle it; time is given to it.

It takes the real path: the broker's claim, the worker's own attempt pipeline, `core.decision`, the
broker's settle. What it leaves out is what needs other processes and real time: runners, children,
leases that run out, time limits.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.broker.protocol import Broker
from penstock.broker.requests import (
    BATCH_MAX,
    OFFERS_MAX,
    ClaimRequest,
    Note,
    Offer,
    OpenLease,
    Owner,
)
from penstock.context import CURRENT, CurrentJob
from penstock.core.decision import decide
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import SHARED, Claimed, StoredError
from penstock.core.lifecycle import State
from penstock.core.outcome import Outcome, outcome_name
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Applied, Bury
from penstock.executors.lane import ThreadRun
from penstock.middleware import Middleware
from penstock.serializers.sealing import Seal
from penstock.tasks.on_dead import on_dead_request, on_dead_target
from penstock.tasks.registry import Registry
from penstock.worker.attempt import Attempt, AttemptPlan, run_attempt

#: Milliseconds of a sandbox's lease: it must not run out however far a test moves the clock.
_LEASE_TTL_MS: Final = 100 * 365 * 86_400_000

CallPlain = Callable[[ThreadRun, Callable[[], Any]], Awaitable[Any]]


class Ran(msgspec.Struct, frozen=True):
    """One attempt that a sandbox ran.

    Attributes:
        job_id: the job.
        task: name under which it was enqueued.
        outcome: how the attempt ended: "succeeded", "failed", "retry_asked", ... (`core.outcome`).
        error: what went wrong, if anything.
    """

    job_id: JobId
    task: str
    outcome: str
    error: StoredError | None = None


class SandboxWorker:
    """Claims and runs jobs one at a time, best rank first.

    Args:
        broker: where they are.
        registry: the app's tasks.
        middleware: the app's, outermost first.
        call_plain: how plain functions are called.
        random_unit: draws the jitter of backoffs, in [0, 1).
        seal: opens secret arguments; None: there are none.
    """

    def __init__(
        self,
        broker: Broker,
        registry: Registry,
        middleware: tuple[Middleware, ...],
        *,
        call_plain: CallPlain,
        random_unit: Callable[[], float],
        seal: Seal | None = None,
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._random_unit = random_unit
        self._lease: LeaseId | None = None
        self._queues: tuple[str, ...] = ()
        self._plan = AttemptPlan(
            find=registry.find,
            enter=self._enter,
            middleware=middleware,
            call_plain=call_plain,
            seal=seal,
        )

    def claim(self) -> tuple[Claimed | None, int | None]:
        """Return the next job; where there is none, in how many milliseconds one is due."""
        queues = tuple(counts.queue for counts in self._broker.counts())
        if not queues:
            return None, None
        self._broker.expire(queues, limit=BATCH_MAX)
        self._broker.promote(queues, limit=BATCH_MAX)
        offers = _offers(queues, self._broker.needs(queues))
        answer = self._broker.claim(
            ClaimRequest(
                lease=self._open_lease(queues),
                offers=offers,
                limit=1,
                fence=Fence(secrets.token_hex(16)),
            )
        )
        if answer.jobs:
            return answer.jobs[0], None
        return None, answer.next_due_in_ms

    async def run(self, job: Claimed) -> Ran:
        """Run and settle one job, in an asyncio task of its own."""
        outcome = await run_attempt(self._plan, Attempt(job))
        self._settle(job, outcome)
        return Ran(job.id, job.spec.task, outcome_name(outcome), getattr(outcome, "error", None))

    def _settle(self, job: Claimed, outcome: Outcome) -> None:
        registration = self._registry.find(job.spec.task)
        policy = POLICY_DEFAULT if registration is None else registration.policy
        settlement = decide(
            job, outcome, policy=policy, random_unit=self._random_unit(), pid=os.getpid()
        )
        [applied] = self._broker.settle([settlement])
        target = on_dead_target(job, settlement, self._registry.facts)
        if target is not None and applied is Applied.APPLIED and isinstance(settlement, Bury):
            tags = self._broker.register([target.queue])
            self._broker.enqueue([on_dead_request(job, settlement, target, tags)])

    def _open_lease(self, queues: tuple[str, ...]) -> LeaseId:
        if self._lease is None or queues != self._queues:
            self._lease, self._queues = LeaseId(secrets.token_hex(16)), queues
            owner = Owner(
                worker="sandbox",
                host="sandbox",
                boot_id="sandbox",
                pid_namespace=0,
                pid=os.getpid(),
                started_ticks=0,
            )
            self._broker.open_lease(
                OpenLease(id=self._lease, queues=queues, owner=owner, ttl_ms=_LEASE_TTL_MS)
            )
        return self._lease

    def _enter(self, attempt: Attempt) -> CurrentJob:
        current = CurrentJob(attempt.job, _Sinks(self._broker, attempt.job))
        CURRENT.set(current)
        return current


def _offers(queues: Sequence[str], held: Mapping[str, Sequence[str]]) -> tuple[Offer, ...]:
    """Return offers of all sets that hold jobs, of one empty set for each queue that has none.

    An empty set is offered so that the broker tells when the queue's next job is due. Past
    `OFFERS_MAX` sets the rest waits for a later claim.
    """
    offers: list[Offer] = []
    left = OFFERS_MAX
    for queue in sorted(queues, key=lambda queue: not held.get(queue)):
        needs = tuple(held.get(queue, ()))[:left] or (SHARED,)
        if left > 0:
            offers.append(Offer(queue, needs))
            left -= len(needs)
    return tuple(offers)


class _Sinks:
    """Writes what a task says at once: a test must see it without waiting."""

    def __init__(self, broker: Broker, job: Claimed) -> None:
        self._broker = broker
        self._job = job

    def progress(self, value: msgspec.Raw, /) -> None:
        self._note(Note(id=self._job.id, fence=self._job.fence, progress=value))

    def log(self, line: str, /) -> None:
        self._note(Note(id=self._job.id, fence=self._job.fence, log=(line,)))

    def checkpoint(self, value: msgspec.Raw, /) -> None:
        self._note(Note(id=self._job.id, fence=self._job.fence, checkpoint=value))

    def cancelled(self) -> bool:
        record = self._broker.get(self._job.id)
        return record is None or record.cancel_requested or record.state is not State.RUNNING

    def _note(self, note: Note) -> None:
        self._broker.note([note])
