"""An `AsyncBroker` over any sync `Broker`: one thread that makes all its calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, Protocol, TypeVar, runtime_checkable

from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker, Broker, Listener
from penstock.core.capacity import Capacity
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.settlement import Applied, Settlement
from penstock.errors import WrongContext

P = ParamSpec("P")
Answer = TypeVar("Answer")


class ThreadedBroker:
    """The verbs of `broker`, awaited. See `Broker` for the contract of each.

    The thread belongs to the instance and to no event loop, so that one instance serves two loops
    of a process one after the other, or at once. Calls are made in the order in which they were
    awaited. After a fork the child starts a thread of its own. An `await` that is cancelled does
    not stop its call: the write may still happen, as after `OutcomeUnknown`.

    Cost: two switches between threads per call, some tens of microseconds.

    Attributes:
        rounds_at_once: see `AsyncBroker`; calls are made one after the other here.

    Args:
        broker: the broker behind it; it is closed together with this one.
    """

    rounds_at_once: Final = 1

    def __init__(self, broker: Broker) -> None:
        """Take `broker` over. The thread starts with the first call."""
        self._broker = broker
        self._is_closed = False
        self._thread = _new_thread()
        self._pid = os.getpid()

    async def _call(
        self, verb: Callable[P, Answer], /, *args: P.args, **kwargs: P.kwargs
    ) -> Answer:
        if self._is_closed:
            raise WrongContext("this broker is closed: open a new one")
        if self._pid != os.getpid():
            # A fork copies the object and not its thread.
            self._thread, self._pid = _new_thread(), os.getpid()
        return await asyncio.wrap_future(self._thread.submit(verb, *args, **kwargs))

    async def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue."""
        return await self._call(self._broker.register, queues)

    async def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs."""
        return await self._call(self._broker.enqueue, jobs, durability=durability)

    async def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        await self._call(self._broker.open_lease, lease)

    async def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        return await self._call(self._broker.extend, leases, ttl_ms=ttl_ms)

    async def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        await self._call(self._broker.close_leases, leases)

    async def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take."""
        await self._call(self._broker.restate, lease, capacity)

    async def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        return await self._call(self._broker.claim, request)

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        return await self._call(self._broker.settle, settlements)

    async def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one round trip."""
        return await self._call(self._broker.cycle, settlements, request)

    async def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        return await self._call(self._broker.note, notes)

    async def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        return await self._call(self._broker.promote, queues, limit=limit)

    async def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        return await self._call(self._broker.expire, queues, limit=limit)

    async def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        return await self._call(self._broker.reclaim, request)

    async def prune(
        self, queues: Sequence[str], rules: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        return await self._call(self._broker.prune, queues, rules, limit=limit)

    async def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        await self._call(self._broker.learn, tallies)

    async def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        return await self._call(self._broker.footprints, profiles)

    async def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        return await self._call(self._broker.peek, ids)

    async def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return await self._call(self._broker.get, job_id)

    async def list_jobs(
        self, where: r.JobFilter, /, *, limit: int, before: JobId | None
    ) -> r.JobPage:
        """Return jobs, newest id first."""
        return await self._call(self._broker.list_jobs, where, limit=limit, before=before)

    async def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return await self._call(self._broker.counts)

    async def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        return await self._call(self._broker.needs, queues)

    async def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return await self._call(self._broker.leases)

    async def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        return await self._call(self._broker.describe)

    async def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        return await self._call(self._broker.cancel, ids)

    async def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        return await self._call(self._broker.requeue, ids)

    async def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        return await self._call(self._broker.delete, ids)

    async def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        await self._call(self._broker.pause, queue)

    async def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        await self._call(self._broker.resume, queue)

    async def listen(self) -> Listener:
        """Open a place to be woken at."""
        return await self._call(self._broker.listen)

    async def close(self) -> None:
        """Close the broker behind it, after the calls before this one, and end the thread."""
        if not self._is_closed:
            await self._call(self._broker.close)
            self._is_closed = True
            self._thread.shutdown(wait=False)


@runtime_checkable
class HasLoopFace(Protocol):
    """A broker that can be awaited without a thread."""

    def loop_face(self) -> AsyncBroker:
        """Return a face for the event loop that first uses it."""
        ...


def loop_face(broker: Broker) -> AsyncBroker:
    """Return the face of a broker for one event loop: its own, else one over a thread."""
    return broker.loop_face() if isinstance(broker, HasLoopFace) else ThreadedBroker(broker)


def _new_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="penstock-broker")
