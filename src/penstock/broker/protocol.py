"""The broker port: small, batch-first verbs, each documented by the transitions it makes.

Every verb is atomic per job and makes one round trip. A read never gates a write: each guard is
inside the atomic operation. Errors of every verb:

- `Unavailable`: definite, nothing was written, calling again is safe;
- `OutcomeUnknown`: the write may have happened; every verb here may be called again with the same
  arguments (ids, fences and leases make the repeat harmless; only a note's log lines are appended
  again, tallies are added again, and bounded batches of maintenance go on with the next ones);
- `UsageError`: the caller broke a rule of the port (`broker.rules` checks them, before anything is
  written). No list is longer than BATCH_MAX, no limit is outside 1..BATCH_MAX.

Whatever makes jobs claimable (enqueue, promote, unblock, release, requeue, resume) wakes sleepers
of that ready set, as many as it can feed, longest waiting first.

Durations come from the broker's lease clock, due times from its wall clock, never from the caller.
`Broker` is the sync face, `AsyncBroker` its twin for event loops; a broker gives one or both.
Source: verbs documented as transitions after Oban's `engine.ex`; batches of settlements after
River; ADR-0003 says why brokers enforce and core decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.broker import requests as r
    from penstock.core.capacity import Capacity
    from penstock.core.ids import JobId, LeaseId
    from penstock.core.job import JobRecord
    from penstock.core.settlement import Applied, Settlement


class Listener(Protocol):
    """A place where a broker can wake a sleeper. Belongs to one process."""

    @property
    def token(self) -> str:
        """Address to leave as `wake_token`."""
        ...

    @property
    def breaks(self) -> int:
        """How often its connection to a server was lost, as by a crash, or came back after that.

        Both are counted by the time that a wake-up tells that it listens again. A server that goes
        between the two has changed nothing here before, and has after. 0 where there is no server.
        """
        ...

    def fileno(self) -> int:
        """Return a descriptor that turns readable on a wake-up, or -1 where there is none."""
        ...

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one. Never blocks."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Block until woken or `timeout_s` passed; return whether woken. Forgets the wake-ups."""
        ...

    def close(self) -> None:
        """Give the address up. A wake-up sent to it later does nothing."""
        ...


class Enqueuer(Protocol):
    """What a client needs to put jobs in."""

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue, giving one to names not seen before.

        A tag never changes and is never given twice. Cost: one read; a write for a new name.
        """
        ...

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs. (none) -> queued | scheduled | blocked | cancelled.

        Atomic per job: the record, the ready set, the key and the counter are written together.
        A job with unfinished parents is blocked; one whose parent has failed, on an edge that does
        not ignore it, is stored cancelled with reason `parent_failed`. Parents may stand earlier in
        the same batch. A key outlives its job: until its window ends, the same key with the same
        digest answers with the old id and its state (the last one, once the job is forgotten).

        Args:
            jobs: 1..BATCH_MAX.
            durability: class asked for; one that the broker cannot give is refused (BadSetting).

        Returns:
            One answer per job, same order. Refused: JobNotFound (a parent is unknown),
            DuplicateKey, PayloadTooLarge, QueueFull.
        """
        ...


class CallerConnection(Protocol):
    """A connection of the caller's to a database: psycopg's `Connection` or `AsyncConnection`."""

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        ...

    @property
    def autocommit(self) -> bool:
        """Whether each statement outside of a transaction commits by itself."""
        ...

    @property
    def info(self) -> Any:
        """What it is connected to."""
        ...


class JoiningEnqueuer(Enqueuer, Protocol):
    """An enqueuer whose jobs can come into being with the caller's own rows."""

    def enqueue_in(
        self, connection: CallerConnection, jobs: Sequence[r.EnqueueRequest], /
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs inside the caller's open transaction: they exist if and once it commits.

        Nothing is committed here, and how durable the jobs are is for the caller's COMMIT to say.
        Until then the rows of parents and keys that are named stay locked: their ends, and calls
        with the same keys, wait. Sleepers are woken by the COMMIT.

        Args:
            connection: to the database that holds the jobs, inside a transaction.
            jobs: 1..BATCH_MAX.

        Raises:
            BadSetting: the connection is of another kind, or on another database.
            WrongContext: it is closed, or has no transaction that could be committed.
            Exception: as the caller's driver says; the transaction is the caller's to roll back.

        Cost: as `enqueue`; for a connection that was not seen before two round trips more.
        """
        ...

    async def aenqueue_in(
        self, connection: CallerConnection, jobs: Sequence[r.EnqueueRequest], /
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs as `enqueue_in` does, through a connection of the running event loop."""
        ...


class Claimer(Protocol):
    """What a runner needs: leases, claims and settlements."""

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues; new names are registered.

        Opening the same id again changes nothing.
        """
        ...

    def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms` from now, and fetch the cancels requested under them.

        A lease that ran out but was not taken over lives again; a closed one is told as lost.
        """
        ...

    def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever: claims under them return nothing, extend tells them lost.

        Jobs that run under them stay running until `reclaim` takes them, which it may do at once.
        A closed lease without jobs is forgotten by `prune`.
        """
        ...

    def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take, for others to read.

        Of a lease that is not known it says nothing; no lease is opened, nor lives longer by it.
        """
        ...

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets. queued -> running; scheduled, retrying -> queued.

        Due jobs of the offered queues are promoted first (at most BATCH_MAX). A job past its
        deadline is not handed out. A paused queue gives nothing. Strict order of rank holds over
        all offered sets. A first claim writes no mutable record. A repeat with the same lease and
        fence answers with the jobs that the first call took and that still run, and takes no more.
        """
        ...

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence.

        running -> completed | retrying | dead | scheduled | queued | cancelled, as each says; with
        it go the attempt's record, the counters, and the children: the last parent's completion
        unblocks, a failed parent cancels. A retry, snooze or release of a job whose cancel was
        requested is written as cancelled. A released job keeps its place. A result over
        payload_bytes_max is dropped. Atomic per settlement, not across the batch.

        Args:
            settlements: 0..BATCH_MAX, at most one per job; kinds may be mixed.

        Returns:
            One `Applied` per item, same order. `STALE`: the fence has moved on, nothing written.
        """
        ...

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one round trip. A worker's steady state is this call alone."""
        ...

    def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts.

        Returns:
            One flag per note: False: the fence has moved on, nothing written.
        """
        ...


class Maintainer(Protocol):
    """What a worker's maintenance loops need. Every verb works in bounded batches."""

    def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable. scheduled, retrying -> queued. Return how many.

        Earliest due time first. A promoted job stands in its set as if it had come when it was due.
        """
        ...

    def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline. blocked, scheduled, queued, retrying -> expired.

        Their children are cancelled or counted down as the edge says. Return how many.
        """
        ...

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs. running -> running under the taker's lease and a new fence.

        Taken are jobs whose lease is closed, at once; and jobs whose lease has run out, whose lease
        is closed in the same step. A lease stamped under another boot id runs out one full lease
        after a reaper first saw it. After a gap of more than half a lease in all reapers' calls
        (an outage, a suspended machine; the very first call, and the first of a boot, count as
        one) nothing that merely ran out is taken for one full lease, so that live workers can
        extend first.

        The claim number stays, and the attempt goes on until it is settled. A repeat with the same
        lease and fence returns what the first call took and still runs, within the limit.
        """
        ...

    def prune(self, queues: Sequence[str], rules: Sequence[r.Retention], /, *, limit: int) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys.

        completed, dead, cancelled, expired -> (none). Jobs are forgotten oldest first, at most
        `limit` jobs and results in one call. Closed leases without jobs go too. A job that waits
        for the requeue of a failed parent is cancelled when that parent is forgotten.

        Returns:
            How many jobs and results were dropped.
        """
        ...


class Learner(Protocol):
    """What a schedule by memory needs: sums per profile, whose meaning its caller alone knows."""

    def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles.

        Sums only: callers on many hosts add at once, and none needs to know what the others added.
        All of a call is added in one atomic step, or none of it. A repeat after a lost answer adds
        again, which statistics bear and exact counts do not: keep none here. A crash of a server
        may take the last sums, as it may take a claim. A footprint is never forgotten.

        Args:
            tallies: 0..BATCH_MAX; a profile may stand there more than once.

        Raises:
            UsageError: a tally is outside the bounds that `Tally` names; nothing is added.

        Cost: one row or field per field of a tally.
        """
        ...

    def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return profile -> field -> sum of all that was added, in no order.

        Args:
            profiles: 0..BATCH_MAX. One to which nothing was ever added is left out of the answer.

        Raises:
            UsageError: a name is one that no tally can have.

        Cost: one look-up per profile, and its fields.
        """
        ...


class Inspector(Protocol):
    """Reads, for people and for those who wait. They never gate a write."""

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs, None for unknown ones. Cost: one look-up per id."""
        ...

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job, None if unknown."""
        ...

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first, `limit` at most, with ids below `before` if given."""
        ...

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue, by name. Cost: independent of the backlog."""
        ...

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets of each queue that are not empty."""
        ...

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        ...

    def describe(self) -> r.BrokerFacts:
        """Return what this broker is; it holds no secret."""
        ...


class Operator(Protocol):
    """What people do to jobs and queues."""

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs. blocked, scheduled, queued, retrying -> cancelled; running: requested.

        The worker of a running job is woken. Children follow as the edge says.
        """
        ...

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts. dead, cancelled, expired, completed -> queued.

        Same id; charges, reason and result are cleared, the deadline is counted anew, and
        `claim_number` goes on rising. Children that were cancelled because this job failed go back
        to blocked, and theirs too, as far as no other parent stands failed; children that still
        wait, wait for it again. A job cancelled by `parent_failed` whose parents are not complete
        goes to blocked.
        """
        ...

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now. completed, dead, cancelled, expired -> (none)."""
        ...

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`. Running jobs go on.

        Raises:
            UsageError: no queue of that name is registered; `resume` too.
        """
        ...

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        ...


class Broker(Enqueuer, Claimer, Maintainer, Learner, Inspector, Operator, Protocol):
    """The whole port, sync. Safe to call from many threads; survives fork by starting anew."""

    def listen(self) -> Listener:
        """Open a place to be woken at."""
        ...

    def close(self) -> None:
        """Let go of connections and files. Later calls raise `WrongContext`."""
        ...


class AsyncBroker(Protocol):
    """The whole port for event loops: the same verbs, awaited. See `Broker` for their contracts."""

    @property
    def rounds_at_once(self) -> int:
        """How many rounds of settlements and claims a runner keeps under way.

        More than one where the store works on a call while the loop goes on.
        """
        ...

    async def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Await the twin of `Broker.register`."""
        ...

    async def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Await the twin of `Broker.enqueue`."""
        ...

    async def open_lease(self, lease: r.OpenLease, /) -> None:
        """Await the twin of `Broker.open_lease`."""
        ...

    async def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Await the twin of `Broker.extend`."""
        ...

    async def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Await the twin of `Broker.close_leases`."""
        ...

    async def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Await the twin of `Broker.restate`."""
        ...

    async def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Await the twin of `Broker.claim`."""
        ...

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Await the twin of `Broker.settle`."""
        ...

    async def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Await the twin of `Broker.cycle`."""
        ...

    async def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Await the twin of `Broker.note`."""
        ...

    async def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Await the twin of `Broker.promote`."""
        ...

    async def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Await the twin of `Broker.expire`."""
        ...

    async def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Await the twin of `Broker.reclaim`."""
        ...

    async def prune(
        self, queues: Sequence[str], rules: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Await the twin of `Broker.prune`."""
        ...

    async def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Await the twin of `Broker.learn`."""
        ...

    async def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Await the twin of `Broker.footprints`."""
        ...

    async def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Await the twin of `Broker.peek`."""
        ...

    async def get(self, job_id: JobId, /) -> JobRecord | None:
        """Await the twin of `Broker.get`."""
        ...

    async def list_jobs(
        self, where: r.JobFilter, /, *, limit: int, before: JobId | None
    ) -> r.JobPage:
        """Await the twin of `Broker.list_jobs`."""
        ...

    async def counts(self) -> Sequence[r.QueueCounts]:
        """Await the twin of `Broker.counts`."""
        ...

    async def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Await the twin of `Broker.needs`."""
        ...

    async def leases(self) -> Sequence[r.LeaseFacts]:
        """Await the twin of `Broker.leases`."""
        ...

    async def describe(self) -> r.BrokerFacts:
        """Await the twin of `Broker.describe`."""
        ...

    async def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Await the twin of `Broker.cancel`."""
        ...

    async def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Await the twin of `Broker.requeue`."""
        ...

    async def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Await the twin of `Broker.delete`."""
        ...

    async def pause(self, queue: str, /) -> None:
        """Await the twin of `Broker.pause`."""
        ...

    async def resume(self, queue: str, /) -> None:
        """Await the twin of `Broker.resume`."""
        ...

    async def listen(self) -> Listener:
        """Await the twin of `Broker.listen`."""
        ...

    async def close(self) -> None:
        """Await the twin of `Broker.close`."""
        ...
