"""A broker that fails where a plan says: before the write, after it, or by doing it twice.

Idea: asynq's `testbroker.go`, and SQLite's sweeps that fail the n-th call for every n.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar, cast

import msgspec

from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker, Broker, Listener
from penstock.broker.threaded import HasLoopFace, ThreadedBroker
from penstock.core.capacity import Capacity
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.settlement import Applied, Settlement
from penstock.errors import OutcomeUnknown, Unavailable

Answer = TypeVar("Answer")


class Fault(StrEnum):
    """What happens to one call."""

    NONE = "none"
    """It is made as it is."""
    REFUSE = "refuse"
    """It is not made: `Unavailable`."""
    LOSE_REPLY = "lose_reply"
    """It is made and its answer is lost: `OutcomeUnknown`."""
    TWICE = "twice"
    """It is made twice, as by a network that repeats it; the second answer is returned."""


class Call(msgspec.Struct, frozen=True):
    """One call of a verb.

    Attributes:
        number: 1, 2, ... over all verbs.
        verb: its name.
        number_of_verb: 1, 2, ... over the calls of this verb.
    """

    number: int
    verb: str
    number_of_verb: int


Plan = Callable[[Call], Fault]
"""Decides about each call before it is made. It may block, to hold a call up, but in a loop."""


def fail_nth(number: int, fault: Fault, *, verb: str | None = None) -> Plan:
    """Return a plan that fails one call: the `number`-th of all, or of one verb."""

    def plan(call: Call) -> Fault:
        if verb is None:
            return fault if call.number == number else Fault.NONE
        is_it = call.verb == verb and call.number_of_verb == number
        return fault if is_it else Fault.NONE

    return plan


class FaultyBroker:
    """`broker`, with the faults of `plan`. `describe`, `listen` and `close` never fail.

    So do the calls of its face for event loops.

    Attributes:
        calls: the calls so far, failed ones too, oldest first.
    """

    def __init__(self, broker: Broker, plan: Plan) -> None:
        """Put the plan before the broker."""
        self._broker = broker
        self._plan = plan
        self._seen: Counter[str] = Counter()
        self.calls: list[Call] = []

    def _decide(self, verb: str) -> tuple[Call, Fault]:
        """Return the next call, and what happens to it."""
        self._seen[verb] += 1
        this = Call(len(self.calls) + 1, verb, self._seen[verb])
        self.calls.append(this)
        return this, self._plan(this)

    def _make(self, verb: str, call: Callable[[], Answer]) -> Answer:
        """Make one call as the plan says.

        Raises:
            Unavailable: the plan refuses it; nothing was written.
            OutcomeUnknown: the plan lost the answer; it was written.
        """
        this, fault = self._decide(verb)
        if fault is Fault.REFUSE:
            raise _refused(this)
        answer = call()
        if fault is Fault.LOSE_REPLY:
            raise _lost(this)
        return call() if fault is Fault.TWICE else answer

    async def make_awaited(self, verb: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Do as for a call of the broker itself, for one of its face.

        Raises:
            Unavailable: the plan refuses it; nothing was written.
            OutcomeUnknown: the plan lost the answer; it was written.
        """
        this, fault = self._decide(verb)
        if fault is Fault.REFUSE:
            raise _refused(this)
        answer = await call()
        if fault is Fault.LOSE_REPLY:
            raise _lost(this)
        return await call() if fault is Fault.TWICE else answer

    def loop_face(self) -> AsyncBroker:
        """Return a face for the event loop that first uses it, with the same faults.

        Where the broker has none of its own, a thread makes the calls.
        """
        if isinstance(self._broker, HasLoopFace):
            return cast("AsyncBroker", _FaultyFace(self, self._broker.loop_face()))
        return ThreadedBroker(self)

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue."""
        return self._make("register", lambda: self._broker.register(queues))

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs."""
        return self._make("enqueue", lambda: self._broker.enqueue(jobs, durability=durability))

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        self._make("open_lease", lambda: self._broker.open_lease(lease))

    def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        return self._make("extend", lambda: self._broker.extend(leases, ttl_ms=ttl_ms))

    def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        self._make("close_leases", lambda: self._broker.close_leases(leases))

    def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take."""
        self._make("restate", lambda: self._broker.restate(lease, capacity))

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        return self._make("claim", lambda: self._broker.claim(request))

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        return self._make("settle", lambda: self._broker.settle(settlements))

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one round trip."""
        return self._make("cycle", lambda: self._broker.cycle(settlements, request))

    def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        return self._make("note", lambda: self._broker.note(notes))

    def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        return self._make("promote", lambda: self._broker.promote(queues, limit=limit))

    def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        return self._make("expire", lambda: self._broker.expire(queues, limit=limit))

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        return self._make("reclaim", lambda: self._broker.reclaim(request))

    def prune(self, queues: Sequence[str], rules: Sequence[r.Retention], /, *, limit: int) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        return self._make("prune", lambda: self._broker.prune(queues, rules, limit=limit))

    def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        self._make("learn", lambda: self._broker.learn(tallies))

    def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        return self._make("footprints", lambda: self._broker.footprints(profiles))

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        return self._make("peek", lambda: self._broker.peek(ids))

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return self._make("get", lambda: self._broker.get(job_id))

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first."""
        return self._make(
            "list_jobs", lambda: self._broker.list_jobs(where, limit=limit, before=before)
        )

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return self._make("counts", self._broker.counts)

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        return self._make("needs", lambda: self._broker.needs(queues))

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return self._make("leases", self._broker.leases)

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        return self._make("cancel", lambda: self._broker.cancel(ids))

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        return self._make("requeue", lambda: self._broker.requeue(ids))

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        return self._make("delete", lambda: self._broker.delete(ids))

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        self._make("pause", lambda: self._broker.pause(queue))

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        self._make("resume", lambda: self._broker.resume(queue))

    def describe(self) -> r.BrokerFacts:
        """Return what the broker behind it is."""
        return self._broker.describe()

    def listen(self) -> Listener:
        """Open a place to be woken at."""
        return self._broker.listen()

    def close(self) -> None:
        """Close the broker behind it."""
        self._broker.close()


class _FaultyFace:
    """The face of a broker, awaited, as the plan of `broker` says."""

    def __init__(self, broker: FaultyBroker, face: AsyncBroker) -> None:
        self._broker = broker
        self._face = face

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._face, name)
        if name in _NEVER_FAIL or not callable(found):
            return found

        async def call(*words: Any, **named: Any) -> Any:
            return await self._broker.make_awaited(name, lambda: found(*words, **named))

        return call


#: Members of a face that a plan is not asked about.
_NEVER_FAIL = frozenset({"describe", "listen", "close"})


def _refused(call: Call) -> Unavailable:
    return Unavailable(f"call {call.number} ({call.verb}) is refused by the plan: call again")


def _lost(call: Call) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the answer of call {call.number} ({call.verb}) is lost by the plan: call again"
    )
