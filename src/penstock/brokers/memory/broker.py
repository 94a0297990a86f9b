"""The port over the memory store: a lock, the rules of the port, and one call per verb."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.core.capacity import Capacity
from penstock.core.clock import Clock
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.settlement import Applied, Settlement
from penstock.errors import WrongContext

from . import inspection
from .cancel import cancel
from .claim import claim
from .close_leases import close_leases
from .delete import delete
from .enqueue import enqueue
from .expire import expire
from .extend import extend
from .footprints import footprints
from .learn import learn
from .note import note
from .open_lease import open_lease
from .pause import pause, resume
from .promote import promote
from .prune import prune
from .reclaim import reclaim
from .register import register
from .requeue import requeue
from .restate import restate
from .settle import settle
from .store import Store
from .wakeup import MemoryListener

#: What this broker is.
FACTS = r.BrokerFacts(
    kind="memory",
    location="this process",
    version="1",
    durability=r.Durability.NONE,
    durabilities=(r.Durability.NONE,),
    warnings=("jobs end with this process: use it for tests only",),
)


class MemoryBroker:
    """A `Broker` whose jobs live in this process. See `Broker` for the contract of each verb.

    Simple and obviously right rather than fast: it is what the other brokers are compared with.

    Args:
        clock: wall time for due times, boot time for leases.
        store: share the store of another handle; None: a new, empty one.
        payload_bytes_max: bytes of one payload, and of one result.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        store: Store | None = None,
        payload_bytes_max: int = r.PAYLOAD_BYTES_MAX,
    ) -> None:
        """Open a handle."""
        self.store = Store(clock) if store is None else store
        self._payload_bytes_max = payload_bytes_max
        self._pid = os.getpid()
        self._is_closed = False

    @contextmanager
    def _open(self) -> Iterator[Store]:
        """Hold the store for one verb; whoever can be fed afterwards is woken.

        Raises:
            WrongContext: this handle was closed, or this process was forked from its owner.
        """
        if self._is_closed:
            raise WrongContext("this broker is closed: open a new one")
        if self._pid != os.getpid():
            raise WrongContext(
                "a memory broker lives in one process, and this one was forked from it: use "
                "sqlite:///FILE to share jobs between processes"
            )
        with self.store.lock:
            yield self.store
            self.store.wake_sleepers()

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue."""
        with self._open() as store:
            return register(store, queues)

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs."""
        rules.check_batch("jobs", jobs, least=1)
        rules.check_durability(durability, FACTS)
        with self._open() as store:
            return enqueue(store, jobs, self._payload_bytes_max)

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        with self._open() as store:
            open_lease(store, lease)

    def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        rules.check_batch("leases", leases)
        with self._open() as store:
            return extend(store, leases, ttl_ms)

    def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        rules.check_batch("leases", leases)
        with self._open() as store:
            close_leases(store, leases)

    def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take."""
        with self._open() as store:
            restate(store, lease, capacity)

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        rules.check_claim(request)
        with self._open() as store:
            return claim(store, request)

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        rules.check_settlements(settlements)
        with self._open() as store:
            return settle(store, settlements, self._payload_bytes_max)

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim."""
        rules.check_settlements(settlements)
        rules.check_claim(request)
        with self._open() as store:
            applied = settle(store, settlements, self._payload_bytes_max)
            return applied, claim(store, request)

    def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        rules.check_batch("notes", notes)
        with self._open() as store:
            return note(store, notes)

    def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        rules.check_limit(limit)
        with self._open() as store:
            return promote(store, queues, limit)

    def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        rules.check_limit(limit)
        with self._open() as store:
            return expire(store, queues, limit)

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        rules.check_limit(request.limit)
        with self._open() as store:
            return reclaim(store, request)

    def prune(
        self, queues: Sequence[str], retention: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        rules.check_limit(limit)
        with self._open() as store:
            return prune(store, queues, retention, limit)

    def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        rules.check_tallies(tallies)
        with self._open() as store:
            learn(store, tallies)

    def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        rules.check_profiles(profiles)
        with self._open() as store:
            return footprints(store, profiles)

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        rules.check_batch("ids", ids)
        with self._open() as store:
            return inspection.peek(store, ids)

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        with self._open() as store:
            return inspection.get(store, job_id)

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first."""
        rules.check_limit(limit)
        with self._open() as store:
            return inspection.list_jobs(store, where, limit, before)

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        with self._open() as store:
            return inspection.counts(store)

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        with self._open() as store:
            return inspection.needs(store, queues)

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        with self._open() as store:
            return inspection.leases(store)

    def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        with self._open():
            return FACTS

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        rules.check_batch("ids", ids)
        with self._open() as store:
            return cancel(store, ids)

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        rules.check_batch("ids", ids)
        with self._open() as store:
            return requeue(store, ids)

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        rules.check_batch("ids", ids)
        with self._open() as store:
            return delete(store, ids)

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        with self._open() as store:
            pause(store, queue)

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        with self._open() as store:
            resume(store, queue)

    def listen(self) -> MemoryListener:
        """Open a place to be woken at."""
        with self._open() as store:
            listener = MemoryListener(self._forget_listener)
            store.wakeups.add_listener(listener)
            return listener

    def close(self) -> None:
        """Close this handle; others on the same store go on."""
        self._is_closed = True

    def _forget_listener(self, token: str) -> None:
        with self.store.lock:
            self.store.wakeups.remove_listener(token)
