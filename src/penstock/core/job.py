"""A job as data: what was asked for, what has been charged, what the broker knows of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

import msgspec

from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.lifecycle import State
from penstock.core.usage import Usage

#: 0 is last, 10 is first; the scale of the requirement M8.
PRIORITY_MAX: Final = 10
PRIORITY_DEFAULT: Final = 5

SHARED: Final = "shared"
"""The need of light `async def` work: any runner's coroutine slot."""
THREAD: Final = "thread"
"""The need of light plain `def` work: any runner's thread slot. Kept apart from `SHARED` because a
claim cannot tell tasks apart: with one set, threads that are all busy would stop the coroutines
behind them, or a runner would have to hoard what it cannot start."""
THREAD_FULL: Final = "thread.full"
"""The need of plain work that is known not to be light: a slot that no light lane lends. Its jobs
enter `THREAD`, like all plain work, and are sent here by a runner that has none of these free."""
ALONE: Final = "alone"
"""The need of isolated work and of suspects: a child process of its own."""


class Reason(StrEnum):
    """Why a job ended dead, cancelled or expired.

    A reason that only a newer release knows is read as it is, so that its jobs can be listed here.
    """

    RETRIES_EXHAUSTED = "retries_exhausted"
    NOT_RETRYABLE = "not_retryable"
    POISON = "poison"
    UNKNOWN_TASK = "unknown_task"
    KEY_MISSING = "key_missing"
    BAD_PAYLOAD = "bad_payload"
    OUT_OF_MEMORY = "out_of_memory"
    TOO_LARGE = "too_large"
    RESULT_REFUSED = "result_refused"
    BY_OPERATOR = "by_operator"
    DISCARDED = "discarded"
    PARENT_FAILED = "parent_failed"
    DEADLINE = "deadline"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_ = value.upper(), value
        return unknown


class Parent(msgspec.Struct, frozen=True, array_like=True):
    """One edge to a parent that must be final before the job may run.

    Attributes:
        id: the parent.
        ignore_failure: True: a parent that ends dead, cancelled or expired counts as finished;
            False: it cancels this job with reason `parent_failed`.
    """

    id: JobId
    ignore_failure: bool = False


class JobSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was asked for at enqueue. Written once, never changed.

    Only what the call itself set is kept: a task's own defaults (retries, limits, backoff) are
    read from the registry when the job runs, so that a deploy changes them for waiting jobs too.

    Attributes:
        task: registered name.
        payload: the arguments as one JSON object, parameter name -> value.
        priority: 0..10, 10 first.
        need: name of the ready set that the job enters (`core.need`).
        expires_ms: the job expires if still waiting this long after enqueue; None: never.
        retries: further attempts after the first; None: the task's.
        timeout_ms: hard limit of one attempt; None: the task's; 0: none.
        soft_timeout_ms: soft limit of one attempt; None: the task's; 0: none.
        key: idempotency key, unique per task within its window.
        result_ttl_ms: the result is dropped this long after completion; None: with the job.
        tenant: whose work it is; None: the default tenant.
        tags: names to find jobs by.
        triggered_by: what caused the job (cron, webhook, ...), the caller's word.
        memory_bytes: declared reservation of this call.
        size: the caller's size hint for learned reservations.
    """

    task: str
    payload: msgspec.Raw
    priority: int = PRIORITY_DEFAULT
    need: str = SHARED
    expires_ms: int | None = None
    retries: int | None = None
    timeout_ms: int | None = None
    soft_timeout_ms: int | None = None
    key: str | None = None
    result_ttl_ms: int | None = None
    tenant: str | None = None
    tags: tuple[str, ...] = ()
    triggered_by: str | None = None
    memory_bytes: int | None = None
    size: float | None = None


class Charges(msgspec.Struct, frozen=True, omit_defaults=True):
    """The mutable record of a job: it exists only where something differs from its start value.

    Attributes:
        errors: attempts that ended in a user exception, a time limit or an asked-for retry.
        crashes: attempts whose process died while the job ran alone in it.
        crashes_aged: of these, those that count no more (`retry.CRASH_WINDOW_MS`).
        crashed_at: when the attempt that crashed last was claimed; None: none has.
        ooms: attempts that ended out of memory.
        unknown_task: times the job was snoozed because no task of its name was registered.
        lost: the job was lost once without a witness; lost again it becomes a suspect.
        suspect: its next attempt runs alone in a child, so that a crash has one culprit.
        bystander: the kernel killed it once for want of memory while it was within its own limit;
            the next time that counts as out of memory.
        memory_bytes: enlarged reservation after an out-of-memory attempt.
        gpu_memory_bytes: enlarged share of a GPU after an attempt that ran out of its memory.
    """

    errors: int = 0
    crashes: int = 0
    crashes_aged: int = 0
    crashed_at: int | None = None
    ooms: int = 0
    unknown_task: int = 0
    lost: bool = False
    suspect: bool = False
    bystander: bool = False
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None


NO_CHARGES: Final = Charges()


class StoredError(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt's error as text; it is never raised again by its class name (SEC13).

    Attributes:
        kind: class name of the exception, or an outcome such as `crashed`.
        message: its text, capped.
        traceback: its traceback, capped; None where there is none.
    """

    kind: str
    message: str
    traceback: str | None = None


class AttemptRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One execution, as kept with the job.

    Attributes:
        number: the claim number of the job when this attempt was claimed.
        worker: name of the worker.
        pid: process in which the user code ran (or would have run).
        started_at: instant of the claim, broker's clock.
        ended_at: instant of the settlement; None while it runs.
        outcome: name of the outcome (`core.outcome`); None while it runs.
        error: what went wrong, if anything.
        usage: what it was measured to take; None: it was not, or it runs.
    """

    number: int
    worker: str
    pid: int
    started_at: int
    ended_at: int | None = None
    outcome: str | None = None
    error: StoredError | None = None
    usage: Usage | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that the broker knows of one job; the answer of `get` and `list`.

    Attributes:
        state: where it is.
        due_at: when a scheduled or retrying job becomes queued.
        expires_at: when a waiting job expires.
        finished_at: when it became final.
        reason: why it ended dead, cancelled or expired.
        claim_number: how often it was claimed; it only rises.
        parents_left: of a blocked job: parents that still hold it back.
        cancel_requested: a cancel waits for the running attempt to end.
        attempts: oldest first, at most `ATTEMPTS_KEPT`; the last one may still run.
        result: JSON, None until completed; see `result_dropped`.
        result_dropped: the result was dropped by its ttl or for want of memory.
        progress: last value reported by the task, as JSON.
        checkpoint: what the next attempt will find, as JSON.
        log: last lines that the task wrote, oldest first.
    """

    id: JobId
    queue: str
    spec: JobSpec
    state: State
    enqueued_at: int
    due_at: int | None = None
    expires_at: int | None = None
    finished_at: int | None = None
    reason: Reason | None = None
    claim_number: int = 0
    charges: Charges = NO_CHARGES
    parents: tuple[Parent, ...] = ()
    parents_left: int = 0
    cancel_requested: bool = False
    attempts: tuple[AttemptRecord, ...] = ()
    result: msgspec.Raw | None = None
    result_dropped: bool = False
    progress: msgspec.Raw | None = None
    checkpoint: msgspec.Raw | None = None
    log: tuple[str, ...] = ()

    @property
    def error(self) -> StoredError | None:
        """The error of the last attempt that had one."""
        return next((a.error for a in reversed(self.attempts) if a.error), None)


#: Attempt records kept per job: enough to see a pattern; older ones are dropped, counters stay.
ATTEMPTS_KEPT: Final = 25


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A job in a worker's hands.

    Attributes:
        fence: to be carried by every later write for this attempt.
        lease: the lease it runs under.
        claim_number: a number that only rises per job, given to user code as a fencing token.
        charges: what earlier attempts were charged.
        claimed_at: broker's clock, milliseconds.
        checkpoint: what an earlier attempt left.
        worker: name of the worker that ran it before (`reclaim` only), else None.
        pid: process that claimed it before (`reclaim` only), else None.
        flaw: why the stored spec or charges could not be read; None where they could. The spec is
            then empty, and the only thing to do with the job is to bury it.
    """

    id: JobId
    queue: str
    spec: JobSpec
    fence: Fence
    lease: LeaseId
    claim_number: int
    claimed_at: int
    charges: Charges = NO_CHARGES
    checkpoint: msgspec.Raw | None = None
    worker: str | None = None
    pid: int | None = None
    flaw: str | None = None
