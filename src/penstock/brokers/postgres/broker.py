"""The port over one PostgreSQL database: the rules of the port, and one transaction per verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import psycopg

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.broker.stored import write_spec
from penstock.core.capacity import Capacity
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import Claimed, JobRecord
from penstock.core.names import check_name
from penstock.core.settlement import Applied, Settlement
from penstock.errors import BrokerError, WrongContext

from . import faults, inspection
from .address import read_address
from .cancel import cancel
from .claim import claim, fall_asleep
from .connection import Connection
from .database import Database, Flight, Work
from .delete import delete
from .enqueue import Entry, enqueue, make_entry, wake_for
from .expire import expire
from .facts import read_facts
from .footprints import footprints
from .joined import Joinable, Joiner, LentConnection, check_async, check_sync
from .learn import learn
from .lease import close_leases, extend, open_lease, restate
from .note import note
from .pause import pause, resume
from .promote import promote
from .prune import drop_leftovers, fold_counts, prune
from .reclaim import reclaim
from .register import known_queues, register
from .requeue import requeue
from .schema import prepare
from .settle import is_in_one_flight, settle
from .sleeper import forget_dead_sleepers, forget_sleeper, hint_sleepers, wake_sleepers
from .transaction import ReadySet, Transaction
from .wakeup import NotifyListener

if TYPE_CHECKING:
    from penstock.broker.protocol import CallerConnection

Answer = TypeVar("Answer")

#: Seconds; a server that is silent for longer is given up. Workers and operators have time.
ANSWER_TIMEOUT_S: Final = 5.0
#: Seconds; who enqueues is often answering somebody himself.
PRODUCER_TIMEOUT_S: Final = 0.8
#: A crash of the server may take a claim: the job is claimed again (ADR-0017).
_CLAIM: Final = Flight(r.Durability.LOCAL, is_whole=True)
_WAKE: Final = Flight(r.Durability.LOCAL, is_whole=True, sets_commit=True)


class PostgresBroker:
    """A `Broker` on one PostgreSQL database, shared by any number of processes and hosts.

    See `Broker` for the contract of each verb. What this adapter adds:

    - `fsync` waits for the disk of the server (synchronous_commit on), `local` does not, chosen per
      transaction. Enqueue has the class asked for, settle and operator verbs that of the broker.
      Claims, leases, notes, promotion, reclaim and pruning wait for no disk: what a crash of the
      server takes of these means that a job is claimed, promoted or pruned again (ADR-0017).
    - Connections belong to a process; after a fork the child opens its own.
    - A call that the server does not answer is given up after 1 s (`register`, `enqueue`, `peek`)
      or 5 s; transactions that were in each other's way are run again within that time.
    """

    def __init__(self, database: Database, facts: r.BrokerFacts, payload_bytes_max: int) -> None:
        """Take over a database whose schema is prepared. Use `open`."""
        self._database = database
        self._facts = facts
        self._payload_bytes_max = payload_bytes_max
        self._tags: dict[str, int] = {}
        self._joiner = Joiner(database)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        durability: r.Durability | None = None,
        payload_bytes_max: int = r.PAYLOAD_BYTES_MAX,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> PostgresBroker:
        """Connect, and make the tables where there are none.

        Args:
            url: `postgresql://USER@HOST:PORT/DATABASE`, with libpq's parameters behind a `?`, and
                `schema=NAME` for tables elsewhere than in the schema `penstock`.
            durability: class of an enqueue that asks for none, and of every settle; None: `fsync`,
                or `local` where the server itself does without fsync.
            payload_bytes_max: bytes of one payload, and of one result.
            answer_timeout_s: give a call up when the server was silent for so long.

        Raises:
            BadSetting: the URL cannot be read, the server refuses user or database, is too old or
                has a newer schema, or cannot give that class of durability.
            Unavailable: the server cannot be reached.
        """
        address = read_address(url)
        database = Database(address, answer_timeout_s)
        try:
            connection = database.pool.take()
        except psycopg.Error as error:
            raise faults.in_connect(error, address.location) from error
        try:
            facts = read_facts(connection, address.location, durability)
            schema = prepare(connection, database.schema, address.location)
        except psycopg.Error as error:
            connection.close()
            raise faults.in_connect(error, address.location) from error
        except BaseException:
            connection.close()
            raise
        database.pool.give_back(connection)
        facts = msgspec.structs.replace(facts, schema_version=schema.version)
        return cls(database, facts, payload_bytes_max)

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue, giving one to names not seen before."""
        self._database.pool.check_open()
        for queue in queues:
            check_name("queue", queue)
        known = self._tags_of(queues)
        new = [queue for queue in queues if queue not in known]
        if new:
            known = {**known, **self._write(lambda tx: register(tx, new), is_producer=True)}
            self._tags = known
        return {queue: known[queue] for queue in queues}

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs, as durably as asked."""
        given = rules.check_durability(durability, self._facts)
        entries = self._entries(jobs)
        are_plain = all(entry.is_plain for entry in entries)
        flight = Flight(given, is_whole=are_plain, sets_commit=are_plain, follow=wake_for(entries))
        return self._send(lambda tx: enqueue(tx, entries, given), flight, is_producer=True)

    def enqueue_in(
        self, connection: CallerConnection, jobs: Sequence[r.EnqueueRequest], /
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs inside the open transaction of a psycopg.Connection; see `JoiningEnqueuer`."""
        return self._enqueue_in(check_sync(connection), jobs)

    async def aenqueue_in(
        self, connection: CallerConnection, jobs: Sequence[r.EnqueueRequest], /
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs inside that of a psycopg.AsyncConnection; see `JoiningEnqueuer`."""
        lent = LentConnection(check_async(connection))
        return await lent.lend(lambda: self._enqueue_in(lent, jobs))

    def _enqueue_in(
        self, connection: Joinable, jobs: Sequence[r.EnqueueRequest]
    ) -> Sequence[r.Accepted | r.Refused]:
        entries = self._entries(jobs)
        tx = self._joiner.join(connection)
        answers = enqueue(tx, entries, self._facts.durability)()
        tx.flush_counts()
        hint_sleepers(tx, tx.fresh)
        return answers

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        tags = self.register(lease.queues)
        self._write(lambda tx: open_lease(tx, lease, tags))

    def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        rules.check_batch("leases", leases)
        return self._write(lambda tx: extend(tx, leases, ttl_ms))

    def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        rules.check_batch("leases", leases)
        self._write(lambda tx: close_leases(tx, leases))

    def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take."""
        self._write(lambda tx: restate(tx, lease, capacity))

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        rules.check_claim(request)
        tags = self._tags_of([offer.queue for offer in request.offers])
        jobs = self._send(lambda tx: claim(tx, request, tags), _CLAIM)
        return self._claimed(jobs, request, tags)

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        rules.check_settlements(settlements)
        if not settlements:
            return []
        flight = Flight(self._facts.durability, is_whole=is_in_one_flight(settlements))
        return self._send(lambda tx: settle(tx, settlements, self._payload_bytes_max), flight)

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one transaction."""
        rules.check_settlements(settlements)
        rules.check_claim(request)
        if not settlements:
            return [], self.claim(request)
        tags = self._tags_of([offer.queue for offer in request.offers])

        def both(tx: Transaction) -> Callable[[], tuple[Sequence[Applied], Sequence[Claimed]]]:
            applied = settle(tx, settlements, self._payload_bytes_max)
            claimed = claim(tx, request, tags)
            return lambda: (applied(), claimed())

        flight = Flight(self._facts.durability, is_whole=is_in_one_flight(settlements))
        applied, jobs = self._send(both, flight)
        return applied, self._claimed(jobs, request, tags)

    def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        rules.check_batch("notes", notes)
        return self._write(lambda tx: note(tx, notes))

    def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        rules.check_limit(limit)
        tags = self._known(queues)
        return self._write(lambda tx: promote(tx, tags, limit))

    def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        rules.check_limit(limit)
        tags = self._known(queues)
        return self._write(lambda tx: expire(tx, tags, limit))

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        rules.check_limit(request.limit)
        return self._write(lambda tx: reclaim(tx, request))

    def prune(
        self, queues: Sequence[str], retention: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        rules.check_limit(limit)
        tags = self._known(queues)
        dropped = self._write(lambda tx: prune(tx, tags, retention, limit))
        self._write(_tidy)
        return dropped

    def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        rules.check_tallies(tallies)
        self._write(lambda tx: learn(tx, tallies))

    def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        rules.check_profiles(profiles)
        return self._read(lambda tx: footprints(tx, profiles))

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        rules.check_batch("ids", ids)
        return self._read(lambda tx: inspection.peek(tx, ids), is_producer=True)

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return self._read(lambda tx: inspection.get(tx, job_id))

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first."""
        rules.check_limit(limit)
        return self._read(lambda tx: inspection.list_jobs(tx, where, limit, before))

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return self._read(inspection.counts)

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        tags = self._tags_of(queues)
        asked = {queue: tags.get(queue) for queue in queues}
        return self._read(lambda tx: inspection.needs(tx, asked))

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return self._read(inspection.leases)

    def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        self._database.pool.check_open()
        return self._facts

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        rules.check_batch("ids", ids)
        return self._write(lambda tx: cancel(tx, ids), durability=self._facts.durability)

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        rules.check_batch("ids", ids)
        return self._write(lambda tx: requeue(tx, ids), durability=self._facts.durability)

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        rules.check_batch("ids", ids)
        return self._write(lambda tx: delete(tx, ids), durability=self._facts.durability)

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        self._write(lambda tx: pause(tx, queue), durability=self._facts.durability)

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        self._write(lambda tx: resume(tx, queue), durability=self._facts.durability)

    def listen(self) -> NotifyListener:
        """Open a place to be woken at from any process, on a connection of its own.

        Raises:
            Unavailable: the server cannot be reached.
        """
        address = self._database.address
        self._database.pool.check_open()
        try:
            return NotifyListener(lambda: Connection.open(address.conninfo), self._forget_listener)
        except psycopg.Error as error:
            raise faults.in_connect(error, address.location) from error

    def close(self) -> None:
        """Let go of the connections. Later calls raise `WrongContext`."""
        self._database.close()

    def _claimed(
        self, jobs: Sequence[Claimed], request: r.ClaimRequest, tags: Mapping[str, int]
    ) -> r.ClaimAnswer:
        """Return the answer of a claim; one that took nothing falls asleep (`claim.py`)."""
        if jobs:
            return r.ClaimAnswer(jobs=tuple(jobs), lease_open=True)
        answer = self._write(lambda tx: fall_asleep(tx, request, tags))
        token = request.wake_token
        if token is None or answer.jobs or not answer.lease_open:
            return answer
        again = msgspec.structs.replace(request, wake_token=None)
        late = self._send(lambda tx: claim(tx, again, tags), _CLAIM)
        if not late:
            return answer
        self._forget_listener(token)
        return r.ClaimAnswer(jobs=tuple(late), lease_open=True)

    def _entries(self, jobs: Sequence[r.EnqueueRequest]) -> list[Entry]:
        rules.check_batch("jobs", jobs, least=1)
        tags = self._tags_of([job.queue for job in jobs])
        for job in jobs:
            rules.check_enqueue(job, tags.get(job.queue))
        return [
            make_entry(job, tags, write_spec(job.spec), self._payload_bytes_max) for job in jobs
        ]

    def _write(
        self,
        work: Callable[[Transaction], Answer],
        *,
        durability: r.Durability = r.Durability.LOCAL,
        is_producer: bool = False,
    ) -> Answer:
        """Run one operation, and wake whom it can feed once it is committed."""

        def fetched(tx: Transaction) -> Callable[[], Answer]:
            answer = work(tx)
            return lambda: answer

        return self._send(fetched, Flight(durability), is_producer=is_producer)

    def _send(
        self,
        work: Work[Answer],
        flight: Flight,
        *,
        is_producer: bool = False,
    ) -> Answer:
        """Run one operation that may read its answer after COMMIT, and wake whom it can feed."""
        fresh: Mapping[ReadySet, int] = {}

        def noted(tx: Transaction) -> Callable[[], Answer]:
            nonlocal fresh
            fresh = tx.fresh
            return work(tx)

        timeout_s = PRODUCER_TIMEOUT_S if is_producer else None
        answer = self._database.send(noted, flight, timeout_s=timeout_s)
        if flight.follow is None and any(jobs > 0 for jobs in fresh.values()):
            # The operation is committed: what fails here must not be told as its failure.
            with suppress(BrokerError, WrongContext, psycopg.Error):
                self._database.send(lambda tx: wake_sleepers(tx, fresh), _WAKE, timeout_s=timeout_s)
        return answer

    def _read(self, work: Callable[[Transaction], Answer], *, is_producer: bool = False) -> Answer:
        return self._database.read(work, timeout_s=PRODUCER_TIMEOUT_S if is_producer else None)

    def _forget_listener(self, token: str) -> None:
        with suppress(BrokerError, WrongContext):
            self._database.write(lambda tx: forget_sleeper(tx, token))

    def _tags_of(self, queues: Sequence[str]) -> dict[str, int]:
        """Return the tags of all known queues, read anew where one of `queues` is not among them.

        A tag never changes, so what is known stays right; a new one is kept only once committed.
        """
        # Race: another thread may put an older state in its place at any time; this one is right.
        known = self._tags
        if not all(queue in known for queue in queues):
            known = self._tags = self._read(known_queues, is_producer=True)
        return known

    def _known(self, queues: Sequence[str]) -> list[int]:
        tags = self._tags_of(queues)
        return [tags[queue] for queue in dict.fromkeys(queues) if queue in tags]


def _tidy(tx: Transaction) -> None:
    """Do what need not be done together with the pruning of jobs."""
    fold_counts(tx)
    drop_leftovers(tx)
    forget_dead_sleepers(tx)
