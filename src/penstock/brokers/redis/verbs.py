"""The verbs as questions: what to send, and how to read the answer. Pure; both faces put them.

One truth about rules, words and answers for the sync and the async face (ADR-0002).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.broker.stored import write_capacity
from penstock.core.capacity import Capacity
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.names import check_name
from penstock.core.settlement import Applied, Settlement
from penstock.errors import UsageError

from . import claim, enqueue, inspection, learn, settle
from .reclaim import reclaimed
from .scripts import Script
from .stored import job_id_of, to_raw
from .wire import Word

T = TypeVar("T")


class Question(NamedTuple, Generic[T]):
    """One call of one script.

    Attributes:
        script: what to run.
        words: its arguments, without the root.
        read: reads its answer.
        writes: it may have written something where its answer is lost.
        is_copied: to wait until a replica has what stands on the server after it.
        hands_out: its answer holds jobs, and may be large.
        is_urgent: jobs may be lost to others, or be ended, while it waits behind another.
    """

    script: Script
    words: Sequence[Word]
    read: Callable[[Any], T]
    writes: bool = True
    is_copied: bool = False
    hands_out: bool = False
    is_urgent: bool = False


class Verbs:
    """Makes the questions of one broker, and keeps the tags of its queues.

    Args:
        scripts: by name.
        facts: what the broker is.
        payload_bytes_max: bytes of one payload, and of one result.

    Attributes:
        facts: what the broker is.
    """

    def __init__(
        self, scripts: Mapping[str, Script], facts: r.BrokerFacts, payload_bytes_max: int
    ) -> None:
        self.facts: Final = facts
        self._scripts = scripts
        self._bytes_max = payload_bytes_max
        self._tags: Mapping[str, int] = {}

    def knows_queues_of(self, jobs: Sequence[r.EnqueueRequest]) -> bool:
        """Return whether the tags of these jobs' queues are known here."""
        tags = self._tags
        return all(job.queue in tags for job in jobs)

    def known_tags(self, queues: Sequence[str]) -> Mapping[str, int] | None:
        """Return the tags of queues; None: not all are known here."""
        tags = self._tags
        if not all(queue in tags for queue in queues):
            return None
        return {queue: tags[queue] for queue in queues}

    def register(self, queues: Sequence[str]) -> Question[Mapping[str, int]]:
        """Ask for the tag of each queue, giving one to names not seen before."""
        for queue in queues:
            check_name("queue", queue)

        def read(tags: Sequence[int]) -> Mapping[str, int]:
            given = dict(zip(queues, tags, strict=True))
            # Race: replaced, not changed, so that no thread sees a part of it.
            self._tags = {**self._tags, **given}
            return given

        return self._ask("register", queues, read)

    def all_tags(self) -> Question[Mapping[str, int]]:
        """Ask for the tags of all queues, giving none."""

        def read(found: Sequence[bytes]) -> Mapping[str, int]:
            pairs = zip(found[::2], found[1::2], strict=True)
            self._tags = {name.decode(): int(tag) for name, tag in pairs}
            return self._tags

        return self._look("tags", (), read)

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], durability: r.Durability | None
    ) -> Question[Sequence[r.Accepted | r.Refused]]:
        """Store jobs, whose queues' tags are known here or nowhere."""
        given = rules.check_durability(durability, self.facts)
        for job in jobs:
            rules.check_enqueue(job, self._tags.get(job.queue))
        asked = enqueue.words_of(jobs, self._tags, self._bytes_max)

        def read(answers: Sequence[Any]) -> Sequence[r.Accepted | r.Refused]:
            return enqueue.answers_of(jobs, asked, answers, given, self._bytes_max)

        name = "enqueue" if asked.is_plain else "enqueue_special"
        question = self._ask(name, asked.words, read)
        return question._replace(is_copied=given is r.Durability.REPLICATED)

    def open_lease(self, lease: r.OpenLease) -> Question[None]:
        """Open a lease for each of its queues, which are registered."""
        names = "\n".join(("", *lease.queues, ""))
        owner = lease.owner
        words = (
            to_raw(lease.id),
            lease.ttl_ms,
            lease.wake_token or "",
            names,
            msgspec.json.encode(owner),
            owner.worker,
            owner.pid,
            b"" if lease.capacity is None else write_capacity(lease.capacity),
        )
        return self._ask("open_lease", words, _nothing)

    def extend(self, leases: Sequence[LeaseId], ttl_ms: int) -> Question[r.ExtendAnswer]:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        rules.check_batch("leases", leases)
        question = self._ask("extend", (ttl_ms, *map(to_raw, leases)), _extended)
        return question._replace(is_urgent=True)

    def close_leases(self, leases: Sequence[LeaseId]) -> Question[None]:
        """Close leases for ever."""
        rules.check_batch("leases", leases)
        return self._ask("close_leases", [to_raw(lease) for lease in leases], _nothing)

    def restate(self, lease: LeaseId, capacity: Capacity) -> Question[None]:
        """Say anew what the worker behind a lease can take."""
        return self._ask("restate", (to_raw(lease), write_capacity(capacity)), _nothing)

    def claim(self, request: r.ClaimRequest) -> Question[r.ClaimAnswer]:
        """Take the best jobs of the offered sets."""
        rules.check_claim(request)

        def read(answer: Sequence[Any]) -> r.ClaimAnswer:
            return claim.answer_of(request, answer)

        return self._ask("claim", claim.words_of(request), read)._replace(hands_out=True)

    def settle(self, settlements: Sequence[Settlement]) -> Question[Sequence[Applied]]:
        """Apply decisions to running jobs, each guarded by its fence."""
        rules.check_settlements(settlements)
        asked = settle.words_of(settlements, self._bytes_max)

        def read(answers: Sequence[bytes]) -> Sequence[Applied]:
            return settle.applied_of(asked, answers)

        return self._ask("settle", asked.words, read)

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest
    ) -> Question[tuple[Sequence[Applied], r.ClaimAnswer]]:
        """Settle, then claim, in one script."""
        rules.check_settlements(settlements)
        rules.check_claim(request)
        asked = settle.words_of(settlements, self._bytes_max)

        def read(answer: Sequence[Any]) -> tuple[Sequence[Applied], r.ClaimAnswer]:
            applied, claimed = answer
            return settle.applied_of(asked, applied), claim.answer_of(request, claimed)

        words = asked.words + claim.words_of(request)
        return self._ask("cycle", words, read)._replace(hands_out=True)

    def note(self, notes: Sequence[r.Note]) -> Question[Sequence[bool]]:
        """Keep progress, checkpoints and log lines of running attempts."""
        rules.check_batch("notes", notes)
        words: list[Word] = [r.LOG_LINES_MAX, r.LOG_BYTES_MAX, len(notes)]
        for note in notes:
            progress = b"" if note.progress is None else bytes(note.progress)
            checkpoint = b"" if note.checkpoint is None else bytes(note.checkpoint)
            words += (to_raw(note.id), to_raw(note.fence), progress, checkpoint)
            words += (len(note.log), *note.log)
        return self._ask("note", words, lambda kept: [bool(one) for one in kept])

    def promote(self, queues: Sequence[str], limit: int) -> Question[int]:
        """Make due jobs claimable."""
        rules.check_limit(limit)
        return self._ask("promote", (limit, *dict.fromkeys(queues)), int)

    def expire(self, queues: Sequence[str], limit: int) -> Question[int]:
        """End jobs past their deadline."""
        rules.check_limit(limit)
        return self._ask("expire", (limit, *dict.fromkeys(queues)), int)

    def reclaim(self, request: r.ReclaimRequest) -> Question[r.ReclaimAnswer]:
        """Take over running jobs whose lease is closed or has run out."""
        rules.check_limit(request.limit)
        words = (to_raw(request.lease), to_raw(request.fence), request.limit, request.lease_ttl_ms)

        def read(answer: Sequence[Any]) -> r.ReclaimAnswer:
            return reclaimed(request, answer)

        return self._ask("reclaim", (*words, *request.queues), read)._replace(hands_out=True)

    def prune(
        self, queues: Sequence[str], retention: Sequence[r.Retention], limit: int
    ) -> Question[int]:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        rules.check_limit(limit)
        words: list[Word] = [limit, len(retention)]
        for rule in retention:
            words += (rule.state.value, rule.age_ms, rule.count_max)
        return self._ask("prune", (*words, *dict.fromkeys(queues)), int)

    def learn(self, tallies: Sequence[r.Tally]) -> Question[None]:
        """Add to the footprints of profiles."""
        rules.check_tallies(tallies)
        return self._ask("learn", learn.words_of(tallies), _nothing)

    def footprints(self, profiles: Sequence[str]) -> Question[Mapping[str, Mapping[str, float]]]:
        """Ask for what was learned of profiles."""
        rules.check_profiles(profiles)

        def read(answers: Sequence[Any]) -> Mapping[str, Mapping[str, float]]:
            return learn.footprints_of(profiles, answers)

        return self._look("footprints", profiles, read)

    def peek(self, ids: Sequence[JobId]) -> Question[Sequence[r.JobStatus | None]]:
        """Ask for state and result of jobs."""
        rules.check_batch("ids", ids)

        def read(answers: Sequence[Any]) -> Sequence[r.JobStatus | None]:
            pairs = zip(ids, answers, strict=True)
            return [inspection.status_of(job_id, answer) for job_id, answer in pairs]

        return self._look("peek", [to_raw(job_id) for job_id in ids], read)

    def get(self, job_id: JobId) -> Question[JobRecord | None]:
        """Ask for everything that is known of one job."""

        def read(answers: Sequence[Any]) -> JobRecord | None:
            return inspection.record_of(answers[0]) if answers[0] else None

        return self._look("get", (to_raw(job_id),), read)

    def list_jobs(
        self, where: r.JobFilter, limit: int, before: JobId | None
    ) -> Generator[Question[Any], Any, r.JobPage]:
        """Look for jobs, newest id first, by as many questions as it takes."""
        rules.check_limit(limit)
        queues = list((yield self.all_tags())) if where.queue is None else [where.queue]

        def question(count: int, below: JobId | None) -> Question[Sequence[JobRecord]]:
            start = "" if below is None else to_raw(below)
            return self._look("list_jobs", (count, start, *queues), inspection.records_of)

        return (yield from inspection.list_jobs(question, where, limit, before))

    def counts(self) -> Question[Sequence[r.QueueCounts]]:
        """Ask for the counters of every known queue."""
        return self._look("counts", (), inspection.counts_of)

    def needs(self, queues: Sequence[str]) -> Question[Mapping[str, Sequence[str]]]:
        """Ask for the names of the ready sets that are not empty."""

        def read(answers: Sequence[Any]) -> Mapping[str, Sequence[str]]:
            return {
                queue: sorted(need.decode() for need in answer)
                for queue, answer in zip(queues, answers, strict=True)
            }

        return self._look("needs", queues, read)

    def leases(self) -> Question[Sequence[r.LeaseFacts]]:
        """Ask for the open leases."""
        return self._look(
            "leases", (), lambda answers: [inspection.lease_of(answer) for answer in answers]
        )

    def cancel(self, ids: Sequence[JobId]) -> Question[Sequence[r.CancelAnswer]]:
        """Cancel jobs; running ones are asked."""
        return self._each("cancel", ids, r.CancelAnswer)

    def requeue(self, ids: Sequence[JobId]) -> Question[Sequence[r.OperatorAnswer]]:
        """Give final jobs a new budget of attempts."""
        return self._each("requeue", ids, r.OperatorAnswer)

    def delete(self, ids: Sequence[JobId]) -> Question[Sequence[r.OperatorAnswer]]:
        """Forget final jobs now."""
        return self._each("delete", ids, r.OperatorAnswer)

    def switch(self, queue: str, *, paused: bool) -> Question[None]:
        """Pause or resume a queue."""

        def read(is_known: int) -> None:
            if not is_known:
                raise UsageError(f"queue {queue!r} is not registered: `penstock queues` lists them")

        return self._ask("pause", (queue, int(paused)), read)

    def forget_token(self, token: str) -> Question[None]:
        """Take the token of a sleeper out of all that it waits at."""
        return self._ask("forget_token", (token,), _nothing)

    def _each(
        self, verb: str, ids: Sequence[JobId], answer: Callable[[str], T]
    ) -> Question[Sequence[T]]:
        rules.check_batch("ids", ids)
        words = [to_raw(job_id) for job_id in ids]
        return self._ask(verb, words, lambda found: [answer(one.decode()) for one in found])

    def _ask(self, script: str, words: Sequence[Word], read: Callable[[Any], T]) -> Question[T]:
        return Question(self._scripts[script], words, read)

    def _look(self, script: str, words: Sequence[Word], read: Callable[[Any], T]) -> Question[T]:
        return Question(self._scripts[script], words, read, writes=False)


def _nothing(_answer: Any) -> None:
    return None


def _extended(answer: Sequence[Any]) -> r.ExtendAnswer:
    lost, found = answer
    cancels = tuple(
        r.CancelNotice(
            job_id_of(found[at]), Fence(found[at + 1].hex()), LeaseId(found[at + 2].hex())
        )
        for at in range(0, len(found), 3)
    )
    return r.ExtendAnswer(lost=tuple(LeaseId(one.hex()) for one in lost), cancels=cancels)
