"""The port over one Redis server: the rules of the port, and one script per verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.names import check_name
from penstock.core.settlement import Applied, Settlement
from penstock.errors import BrokerError, UsageError, WrongContext

from . import claim, enqueue, inspection, settle
from .listener import RedisListener
from .reclaim import reclaimed
from .scripts import read_scripts
from .server import ANSWER_TIMEOUT_S, Server, Word
from .settings import check_settings
from .stored import job_id_of, to_raw

#: Root of all keys and channels.
ROOT: Final = "penstock"


class RedisBroker:
    """A `Broker` on one Redis or Valkey server, shared by any number of hosts.

    See `Broker` for the contract of each verb. What this adapter adds:

    - Every verb is one script, run by its digest; time is the server's.
    - `local` is kept in the server's memory and, with an append-only file, on its disk about every
      second; `fsync` is given where the server syncs at every write (`appendfsync always`);
      `replicated` waits for one replica at each enqueue. Settling waits for none: what is lost with
      the primary is made good by another run.
    - An enqueue is refused while the server's memory is full; settling goes on.
    """

    def __init__(
        self,
        server: Server,
        facts: r.BrokerFacts,
        payload_bytes_max: int,
        *,
        root: str = ROOT,
        clock: str | None = None,
    ) -> None:
        """Take over a checked server. Use `open`."""
        self._server = server
        self._facts = facts
        self._payload_bytes_max = payload_bytes_max
        self._root = root
        self._scripts = read_scripts(clock)
        self._tags: dict[str, int] = {}

    @classmethod
    def open(
        cls,
        url: str,
        *,
        durability: r.Durability | None = None,
        payload_bytes_max: int = r.PAYLOAD_BYTES_MAX,
        root: str = ROOT,
        clock: str | None = None,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> RedisBroker:
        """Connect to a server and check its settings.

        Args:
            url: `redis://HOST:PORT/DB`, `rediss://...` or `unix://PATH`.
            durability: class of an enqueue that asks for none; None: `local`.
            payload_bytes_max: bytes of one payload, and of one result.
            root: start of all keys.
            clock: Lua that defines the clocks; None: the server's.
            answer_timeout_s: for each answer.

        Raises:
            BadSetting: the URL, the server's settings or the class of durability cannot be used.
            Unavailable: the server cannot be reached.
        """
        server = Server(url, answer_timeout_s=answer_timeout_s)
        facts = check_settings(server, durability or r.Durability.LOCAL)
        return cls(server, facts, payload_bytes_max, root=root, clock=clock)

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue, giving one to names not seen before."""
        for queue in queues:
            check_name("queue", queue)
        if not all(queue in self._tags for queue in queues):
            tags = self._run("register", queues)
            self._tags = {**self._tags, **dict(zip(queues, tags, strict=True))}
        return {queue: self._tags[queue] for queue in queues}

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs."""
        rules.check_batch("jobs", jobs, least=1)
        given = rules.check_durability(durability, self._facts)
        tags = self._tags_of([job.queue for job in jobs])
        for job in jobs:
            rules.check_enqueue(job, tags.get(job.queue))
        words = enqueue.words_of(jobs, tags, self._payload_bytes_max)
        answers = self._run("enqueue", words, is_copied=given is r.Durability.REPLICATED)
        return [
            enqueue.answer_of(job, answer, given, self._payload_bytes_max)
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        self.register(lease.queues)
        names = "\n".join(("", *lease.queues, ""))
        owner = lease.owner
        words = (to_raw(lease.id), lease.ttl_ms, lease.wake_token or "", names)
        self._run("open_lease", (*words, msgspec.json.encode(owner), owner.worker, owner.pid))

    def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        rules.check_batch("leases", leases)
        lost, found = self._run("extend", (ttl_ms, *map(to_raw, leases)))
        cancels = tuple(
            r.CancelNotice(
                job_id_of(found[at]), Fence(found[at + 1].hex()), LeaseId(found[at + 2].hex())
            )
            for at in range(0, len(found), 3)
        )
        return r.ExtendAnswer(lost=tuple(LeaseId(one.hex()) for one in lost), cancels=cancels)

    def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        rules.check_batch("leases", leases)
        self._run("close_leases", [to_raw(lease) for lease in leases])

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        rules.check_claim(request)
        return claim.answer_of(request, self._run("claim", claim.words_of(request)))

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        rules.check_settlements(settlements)
        if not settlements:
            return []
        answers = self._run("settle", settle.words_of(settlements, self._payload_bytes_max))
        return settle.applied_of(settlements, answers, self._payload_bytes_max)

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one script."""
        rules.check_settlements(settlements)
        rules.check_claim(request)
        words = settle.words_of(settlements, self._payload_bytes_max) + claim.words_of(request)
        answers, claimed = self._run("cycle", words)
        applied = settle.applied_of(settlements, answers, self._payload_bytes_max)
        return applied, claim.answer_of(request, claimed)

    def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        rules.check_batch("notes", notes)
        words: list[Word] = [r.LOG_LINES_MAX, r.LOG_BYTES_MAX, len(notes)]
        for note in notes:
            progress = b"" if note.progress is None else bytes(note.progress)
            checkpoint = b"" if note.checkpoint is None else bytes(note.checkpoint)
            words += (to_raw(note.id), to_raw(note.fence), progress, checkpoint)
            words += (len(note.log), *note.log)
        return [bool(kept) for kept in self._run("note", words)]

    def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        rules.check_limit(limit)
        return int(self._run("promote", (limit, *dict.fromkeys(queues))))

    def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        rules.check_limit(limit)
        return int(self._run("expire", (limit, *dict.fromkeys(queues))))

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        rules.check_limit(request.limit)
        words = (to_raw(request.lease), to_raw(request.fence), request.limit, request.lease_ttl_ms)
        return reclaimed(request, self._run("reclaim", (*words, *request.queues)))

    def prune(
        self, queues: Sequence[str], retention: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        rules.check_limit(limit)
        words: list[Word] = [limit, len(retention)]
        for rule in retention:
            words += (rule.state.value, rule.age_ms, rule.count_max)
        return int(self._run("prune", (*words, *dict.fromkeys(queues))))

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        rules.check_batch("ids", ids)
        answers = self._read("peek", [to_raw(job_id) for job_id in ids])
        pairs = zip(ids, answers, strict=True)
        return [inspection.status_of(job_id, answer) for job_id, answer in pairs]

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        [answer] = self._read("get", (to_raw(job_id),))
        return inspection.record_of(answer) if answer else None

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first."""
        rules.check_limit(limit)
        queues = list(self._tags_of(())) if where.queue is None else [where.queue]

        def read(count: int, below: JobId | None) -> Sequence[Any]:
            start = "" if below is None else to_raw(below)
            answers: Sequence[Any] = self._read("list_jobs", (count, start, *queues))
            return answers

        return inspection.list_jobs(read, where, limit, before)

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return inspection.counts_of(self._read("counts", ()))

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        answers = self._read("needs", queues)
        return {
            queue: sorted(need.decode() for need in answer)
            for queue, answer in zip(queues, answers, strict=True)
        }

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return [inspection.lease_of(answer) for answer in self._read("leases", ())]

    def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        self._server.check_open()
        return self._facts

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        rules.check_batch("ids", ids)
        answers = self._run("cancel", [to_raw(job_id) for job_id in ids])
        return [r.CancelAnswer(answer.decode()) for answer in answers]

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        rules.check_batch("ids", ids)
        answers = self._run("requeue", [to_raw(job_id) for job_id in ids])
        return [r.OperatorAnswer(answer.decode()) for answer in answers]

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        rules.check_batch("ids", ids)
        answers = self._run("delete", [to_raw(job_id) for job_id in ids])
        return [r.OperatorAnswer(answer.decode()) for answer in answers]

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        self._switch(queue, "1")

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        self._switch(queue, "0")

    def listen(self) -> RedisListener:
        """Open a place to be woken at from any host."""
        return RedisListener(self._server, self._root, self._forget_listener)

    def close(self) -> None:
        """Let go of the connections. Later calls raise `WrongContext`."""
        self._server.close()

    def _switch(self, queue: str, to: str) -> None:
        if not self._run("pause", (queue, to)):
            raise UsageError(f"queue {queue!r} is not registered: `penstock queues` lists them")

    def _run(self, verb: str, words: Sequence[Word], *, is_copied: bool = False) -> Any:
        return self._server.run(self._scripts[verb], self._root, words, is_copied=is_copied)

    def _read(self, verb: str, words: Sequence[Word]) -> Any:
        return self._server.run(self._scripts[verb], self._root, words, writes=False)

    def _forget_listener(self, token: str) -> None:
        with suppress(BrokerError, WrongContext):
            self._run("forget_token", (token,))

    def _tags_of(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Return the tags of all known queues, read anew where one of `queues` is not known."""
        if not queues or not all(queue in self._tags for queue in queues):
            found = self._server.ask("HGETALL", f"{self._root}:queues")
            pairs = zip(found[::2], found[1::2], strict=True)
            self._tags = {name.decode(): int(tag) for name, tag in pairs}
        return self._tags
