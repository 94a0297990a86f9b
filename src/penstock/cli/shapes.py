"""The JSON documents of the commands. They are stable: fields are added, never renamed or removed.

Instants end in `_at`: milliseconds since 1970 UTC, null where it has not happened. Durations end in
`_ms`. `arguments`, `result`, `progress` and `checkpoint` are JSON values as the task wrote
them, but for secret arguments, which are the text "•••".
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.broker.requests import QueueCounts
from penstock.core.job import AttemptRecord, JobRecord, StoredError
from penstock.core.lifecycle import State
from penstock.core.usage import Usage
from penstock.serializers.sealing import shown


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One job in a list (`jobs`, `dead`).

    Attributes:
        claims: how often it was claimed; the number of attempts, reclaims included.
        error: kind and text of the last error, null where there is none.
    """

    id: str
    queue: str
    task: str
    state: State
    reason: str | None
    priority: int
    claims: int
    enqueued_at: int
    finished_at: int | None
    error: str | None

    @classmethod
    def of(cls, record: JobRecord) -> JobRow:
        """Return the row of a job."""
        return cls(
            id=record.id,
            queue=record.queue,
            task=record.spec.task,
            state=record.state,
            reason=record.reason,
            priority=record.spec.priority,
            claims=record.claim_number,
            enqueued_at=record.enqueued_at,
            finished_at=record.finished_at,
            error=error_line(record.error),
        )


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a job; `outcome` and `ended_at` are null while it runs.

    Attributes:
        usage: what it was measured to take; null: it was not measured, or it runs.
    """

    number: int
    worker: str
    pid: int
    started_at: int
    ended_at: int | None
    outcome: str | None
    error: StoredError | None
    usage: Usage | None

    @classmethod
    def of(cls, record: AttemptRecord) -> Attempt:
        """Return the document of an attempt."""
        return cls(**{name: getattr(record, name) for name in cls.__struct_fields__})


class ParentEdge(msgspec.Struct, frozen=True):
    """A parent, and whether its failure is ignored."""

    id: str
    ignore_failure: bool


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """What failures the job was charged, and the marks they left; see the page on guarantees."""

    errors: int
    crashes: int
    ooms: int
    lost: bool
    suspect: bool
    bystander: bool


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one job (`job ID`).

    Attributes:
        need: the ready set it enters: "shared" for a coroutine, "thread", or "alone" for a child
            process of its own.
        options: what the call itself asked for, as the spec stores it; the rest is the task's.
        claims: how often it was claimed.
        attempts: oldest first, the last 25.
    """

    id: str
    queue: str
    task: str
    state: State
    reason: str | None
    priority: int
    need: str
    arguments: msgspec.Raw
    options: dict[str, Any]
    tags: tuple[str, ...]
    parents: tuple[ParentEdge, ...]
    parents_left: int
    enqueued_at: int
    due_at: int | None
    expires_at: int | None
    finished_at: int | None
    cancel_requested: bool
    claims: int
    charges: Charged
    attempts: tuple[Attempt, ...]
    progress: msgspec.Raw | None
    checkpoint: msgspec.Raw | None
    log: tuple[str, ...]
    result: msgspec.Raw | None
    result_dropped: bool

    @classmethod
    def of(cls, record: JobRecord) -> JobDocument:
        """Return the document of a job."""
        spec, charges = record.spec, record.charges
        names = set(cls.__struct_fields__) & set(JobRecord.__struct_fields__)
        same = {name: getattr(record, name) for name in names - _REWRITTEN}
        return cls(
            **same,
            task=spec.task,
            priority=spec.priority,
            need=spec.need,
            arguments=shown(spec.payload),
            options={n: v for n in _OPTIONS if (v := getattr(spec, n)) is not None},
            tags=spec.tags,
            parents=tuple(ParentEdge(p.id, p.ignore_failure) for p in record.parents),
            claims=record.claim_number,
            charges=Charged(**{n: getattr(charges, n) for n in Charged.__struct_fields__}),
            attempts=tuple(Attempt.of(attempt) for attempt in record.attempts),
        )


#: Fields of the same name in record and document, whose values have another form.
_REWRITTEN = frozenset({"parents", "charges", "attempts"})
#: Fields of a spec that only the call itself sets.
_OPTIONS = (
    "expires_ms", "retries", "timeout_ms", "soft_timeout_ms", "key", "result_ttl_ms", "tenant",
    "triggered_by", "memory_bytes", "size",
)  # fmt: skip


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One queue (`queues`).

    Attributes:
        states: state -> number of jobs, every state named.
        oldest_queued_ms: how long the oldest claimable job has waited; null: none waits.
        unheld: what waiting jobs need that no live worker of the queue has, and the way out.
    """

    queue: str
    paused: bool
    states: dict[str, int]
    oldest_queued_ms: int | None
    unheld: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: QueueCounts, unheld: tuple[str, ...] = ()) -> QueueRow:
        """Return the row of a queue."""
        return cls(
            queue=counts.queue,
            paused=counts.paused,
            states={state.value: getattr(counts, state.value) for state in State},
            oldest_queued_ms=counts.oldest_queued_ms,
            unheld=unheld,
        )


class ProfileRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of a task took, all of them or those of one bucket of sizes (`profile`).

    Attributes:
        size_from: least size of the bucket; null: all runs.
        size_to: size at which the next bucket begins; null: all runs.
        runs: how many.
        p50_bytes: peak that half of them did not pass; null: there were none.
        p95_bytes: the same for 95 of 100.
        max_bytes: the largest.
        reservation_bytes: what the next job is given; null: too few runs to tell.
    """

    size_from: float | None
    size_to: float | None
    runs: int
    p50_bytes: int | None
    p95_bytes: int | None
    max_bytes: int | None
    reservation_bytes: int | None


class PaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """How long the runs of a task lasted (`profile`).

    Attributes:
        runs: how many were measured.
        p50_ms: what half of them did not last longer than.
        p95_ms: the same for 95 of 100.
        max_ms: the longest.
        cpu_part: share of the run time that was processor time, 0 to 1.
        kind: light, long, busy or unknown, by the settings here; what it means is for plain tasks.
    """

    runs: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    cpu_part: float
    kind: str


def error_line(error: StoredError | None) -> str | None:
    """Return an error in one line, None where there is none."""
    if error is None:
        return None
    text = " ".join(error.message.split())
    return f"{error.kind}: {text}" if text else error.kind
