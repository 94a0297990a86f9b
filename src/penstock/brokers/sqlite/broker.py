"""The port over one SQLite file: the rules of the port, and one transaction per verb."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.broker.clock import SystemClock
from penstock.broker.stored import write_spec
from penstock.core.capacity import Capacity
from penstock.core.clock import Clock
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.names import check_name
from penstock.core.settlement import Applied, Settlement
from penstock.errors import BadSetting, BrokerError, Unavailable, WrongContext

from . import inspection, wakeup
from .cancel import cancel
from .claim import claim
from .delete import delete
from .enqueue import enqueue, make_entry
from .expire import expire
from .file import SqliteFile
from .footprints import footprints
from .learn import learn
from .lease import close_leases, extend, open_lease, restate
from .note import note
from .pause import pause, resume
from .promote import promote
from .prune import prune
from .reclaim import reclaim
from .register import known_queues, register
from .requeue import requeue
from .settle import settle
from .sleeper import feed_sleepers, forget_sleeper, sleeping, take_sleepers
from .transaction import ReadySet, Transaction

Answer = TypeVar("Answer")

#: Classes that SQLite can give.
_DURABILITIES: Final = (r.Durability.FSYNC, r.Durability.LOCAL)
#: Seconds to wait for another process's transaction before a call is refused as unavailable.
BUSY_TIMEOUT_S: Final = 5.0


class SqliteBroker:
    """A `Broker` on one SQLite file, shared by any number of threads and processes of one host.

    See `Broker` for the contract of each verb. What this adapter adds:

    - `fsync` is synchronous FULL, `local` is synchronous NORMAL, chosen per transaction. Enqueue
      has the class asked for, settle and operator verbs that of the broker. Claims, leases, notes,
      promotion, reclaim and pruning need no fsync: power loss ends every attempt anyway, and what
      it takes of these only means that a job is claimed, promoted or pruned again (ADR-0010).
    - After a fork the child opens the file anew by itself and never touches the parent's handles.
    - Many threads that write at once share one transaction (`writer.py`).
    """

    def __init__(
        self, file: SqliteFile, clock: Clock, durability: r.Durability, payload_bytes_max: int
    ) -> None:
        """Take over an opened file. Use `open`."""
        self._file = file
        self._clock = clock
        self._durability = durability
        self._settle_fsync = durability is r.Durability.FSYNC
        self._payload_bytes_max = payload_bytes_max
        self._tags: dict[str, int] = {}
        self._facts = r.BrokerFacts(
            kind="sqlite",
            location=str(file.path),
            version=file.sqlite_version,
            durability=durability,
            durabilities=_DURABILITIES,
            warnings=file.warnings,
            schema_version=file.schema_version,
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Clock | None = None,
        durability: r.Durability = r.Durability.FSYNC,
        payload_bytes_max: int = r.PAYLOAD_BYTES_MAX,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> SqliteBroker:
        """Open a file, and make it where there is none.

        Args:
            path: of the file; its directory must exist.
            clock: wall time for due times, boot time for leases; None: this machine's.
            durability: class of an enqueue that asks for none, and of every settle.
            payload_bytes_max: bytes of one payload, and of one result.
            busy_timeout_s: give up on another process's transaction after this long.

        Raises:
            BadSetting: the path, the file's owner, its schema, its file system or the class of
                durability is not one that this broker can use.
            Unavailable: the file cannot be read or written.
        """
        if durability not in _DURABILITIES:
            ways = ", ".join(_DURABILITIES)
            raise BadSetting(
                f"durability {str(durability)!r} is not to be had from sqlite: use {ways}"
            )
        used = SystemClock() if clock is None else clock
        file = SqliteFile(Path(path).absolute(), used, busy_timeout_s=busy_timeout_s)
        file.open()
        return cls(file, used, durability, payload_bytes_max)

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue, giving one to names not seen before."""
        self._file.check_open()
        for queue in queues:
            check_name("queue", queue)
        known = self._tags
        if not all(queue in known for queue in queues):
            known = {**known, **self._write(lambda tx: register(tx, queues))}
            self._tags = known
        return {queue: known[queue] for queue in queues}

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs, as durably as asked."""
        rules.check_batch("jobs", jobs, least=1)
        given = rules.check_durability(durability, self._facts)
        tags = self._tags_of([job.queue for job in jobs])
        for job in jobs:
            rules.check_enqueue(job, tags.get(job.queue))
        entries = [
            make_entry(job, tags, write_spec(job.spec), self._payload_bytes_max) for job in jobs
        ]
        fsync = given is r.Durability.FSYNC
        return self._write(lambda tx: enqueue(tx, entries, given), fsync=fsync)

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        tags = self.register(lease.queues)
        self._tidy()
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
        return self._write(lambda tx: claim(tx, request, tags))

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        rules.check_settlements(settlements)
        if not settlements:
            return []
        return self._write(
            lambda tx: settle(tx, settlements, self._payload_bytes_max), fsync=self._settle_fsync
        )

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one transaction."""
        rules.check_settlements(settlements)
        rules.check_claim(request)
        tags = self._tags_of([offer.queue for offer in request.offers])

        def both(tx: Transaction) -> tuple[Sequence[Applied], r.ClaimAnswer]:
            applied = settle(tx, settlements, self._payload_bytes_max)
            return applied, claim(tx, request, tags)

        return self._write(both, fsync=self._settle_fsync and bool(settlements))

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
        self._tidy()
        return self._write(lambda tx: prune(tx, tags, retention, limit))

    def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        rules.check_tallies(tallies)
        self._write(lambda tx: learn(tx, tallies))

    def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        rules.check_profiles(profiles)
        return self._file.read(lambda db: footprints(db, profiles))

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        rules.check_batch("ids", ids)
        return self._file.read(lambda db: inspection.peek(db, ids))

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return self._file.read(lambda db: inspection.get(db, job_id))

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first."""
        rules.check_limit(limit)
        return self._file.read(lambda db: inspection.list_jobs(db, where, limit, before))

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return self._file.read(lambda db: inspection.counts(db, self._clock.wall_ms()))

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        tags = self._tags_of(queues)
        return self._file.read(
            lambda db: inspection.needs(db, {queue: tags.get(queue) for queue in queues})
        )

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return self._file.read(lambda db: inspection.leases(db, self._clock))

    def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        self._file.check_open()
        return self._facts

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        rules.check_batch("ids", ids)
        return self._write(lambda tx: cancel(tx, ids), fsync=self._settle_fsync)

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        rules.check_batch("ids", ids)
        return self._write(lambda tx: requeue(tx, ids), fsync=self._settle_fsync)

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        rules.check_batch("ids", ids)
        return self._write(lambda tx: delete(tx, ids), fsync=self._settle_fsync)

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        self._write(lambda tx: pause(tx, queue), fsync=self._settle_fsync)

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        self._write(lambda tx: resume(tx, queue), fsync=self._settle_fsync)

    def listen(self) -> wakeup.FifoListener:
        """Open a place to be woken at from any process of this host.

        Raises:
            Unavailable: the FIFO cannot be made.
        """
        try:
            return wakeup.FifoListener(self._file.make_wake_directory(), self._forget_listener)
        except OSError as error:
            raise Unavailable(
                f"{self._file.wake_directory}: a FIFO cannot be made in it ({error}): give this "
                "user the right to write there"
            ) from error

    def close(self) -> None:
        """Let go of the file. Later calls raise `WrongContext`."""
        self._file.close()

    def _write(self, work: Callable[[Transaction], Answer], *, fsync: bool = False) -> Answer:
        """Run one operation, and wake whom it can feed once it is committed."""

        def fed(tx: Transaction) -> Answer:
            answer = work(tx)
            if tx.fresh:
                feed_sleepers(tx)
            return answer

        answer, tx = self._file.write(fed, fsync=fsync)
        for token in tx.nudges:
            wakeup.wake(self._file.wake_directory, token)
        for token, ready_set in tx.wakes:
            self._wake(token, ready_set)
        return answer

    def _wake(self, token: str, ready_set: ReadySet) -> None:
        """Wake the sleeper of `token`, or the next one where that is dead."""
        # The operation is committed: what fails here must not be told as its failure.
        with suppress(BrokerError, WrongContext):
            while not wakeup.wake(self._file.wake_directory, token):
                _, tx = self._file.write(lambda tx: take_sleepers(tx, ready_set, 1), fsync=False)
                if not tx.wakes:
                    return
                [(token, _)] = tx.wakes

    def _forget_listener(self, token: str) -> None:
        with suppress(BrokerError, WrongContext):
            self._file.write(lambda tx: forget_sleeper(tx, token), fsync=False)

    def _tidy(self) -> None:
        """Keep the log short, and remove FIFOs and tokens that dead processes left behind."""
        self._file.move_log()
        wakeup.remove_stale(self._file.wake_directory)

        def forget_dead(tx: Transaction) -> None:
            for token in sleeping(tx):
                if not wakeup.exists(self._file.wake_directory, token):
                    forget_sleeper(tx, token)

        self._write(forget_dead)

    def _tags_of(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Return the tags of all known queues, read anew where one of `queues` is not among them.

        A tag never changes, so what is known stays right; a new one is kept only once committed.
        """
        # Race: another thread may put an older state in its place at any time; this one is right.
        known = self._tags
        if not all(queue in known for queue in queues):
            known = self._tags = self._file.read(known_queues)
        return known

    def _known(self, queues: Sequence[str]) -> list[int]:
        tags = self._tags_of(queues)
        return [tags[queue] for queue in dict.fromkeys(queues) if queue in tags]
