"""How an attempt can end. Facts only; what follows from them is decided in `decision.py`."""

from __future__ import annotations

import msgspec

from penstock.core.job import StoredError


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """User code returned; `result` is JSON, None where nothing is kept."""

    result: bytes | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """User code raised.

    Attributes:
        retryable: False where the task's `discard_on` or `retry_on` rules it out.
    """

    error: StoredError
    retryable: bool = True


class RetryAsked(msgspec.Struct, frozen=True, tag="retry_asked"):
    """User code raised Retry; `after_ms` None means the task's backoff."""

    error: StoredError
    after_ms: int | None = None


class SnoozeAsked(msgspec.Struct, frozen=True, tag="snooze_asked"):
    """User code raised Snooze."""

    delay_ms: int
    error: StoredError | None = None


class Discarded(msgspec.Struct, frozen=True, tag="discarded"):
    """User code raised Discard, or an exception that the task's `discard_on` names."""

    error: StoredError | None = None


class TimedOut(msgspec.Struct, frozen=True, tag="timed_out"):
    """The hard limit passed and the attempt was ended, or the soft limit ended it."""

    error: StoredError


class CancelledByRequest(msgspec.Struct, frozen=True, tag="cancelled"):
    """The attempt ended because its job's cancel was requested."""

    error: StoredError | None = None


class Crashed(msgspec.Struct, frozen=True, tag="crashed"):
    """The process died under the job, with a witness.

    Attributes:
        alone: the job was alone in that process, so it is charged.
    """

    error: StoredError
    alone: bool


class OutOfMemory(msgspec.Struct, frozen=True, tag="out_of_memory"):
    """The attempt passed its memory limit, or asked for memory that was not to be had.

    Attributes:
        error: says what it took and what it was given.
        reserved_bytes: what was set aside for the attempt; what it took, where it might take more.
        largest_bytes: the budget of the largest worker alive; None: nobody knows.
        of_gpu: it was the memory of a GPU; all bytes are of one device then.
    """

    error: StoredError
    reserved_bytes: int
    largest_bytes: int | None = None
    of_gpu: bool = False


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """The lease ran out or the whole worker died: nobody saw what happened.

    Attributes:
        alone: the attempt ran alone in a child, and nothing else explains the loss
            (`core/partition.py`), so it is charged.
    """

    error: StoredError
    alone: bool


class Interrupted(msgspec.Struct, frozen=True, tag="interrupted"):
    """Not the job's doing: a drain, a neighbour's hard limit, a closed lease.

    Attributes:
        error: says what it was.
        bystander: the kernel killed it for want of memory, within its own limit (`core/memory.py`).
    """

    error: StoredError | None = None
    bystander: bool = False


class DoesNotFit(msgspec.Struct, frozen=True, tag="does_not_fit"):
    """The job needs something that was not free for it where it came to; it did not begin.

    Attributes:
        need: the ready set in which it is found by those who have it.
    """

    error: StoredError
    need: str


class TaskUnknown(msgspec.Struct, frozen=True, tag="task_unknown"):
    """No task of that name is registered in this worker."""

    error: StoredError


class KeyMissing(msgspec.Struct, frozen=True, tag="key_missing"):
    """This worker has not the key with which the job's secret arguments were encrypted."""

    error: StoredError


class PayloadUnreadable(msgspec.Struct, frozen=True, tag="payload_unreadable"):
    """The payload is not JSON, or does not fit the task's signature."""

    error: StoredError


class ResultUnwritable(msgspec.Struct, frozen=True, tag="result_unwritable"):
    """User code returned something that cannot be stored: not JSON, or too large."""

    error: StoredError


Unsuccessful = (
    Failed
    | RetryAsked
    | SnoozeAsked
    | Discarded
    | TimedOut
    | CancelledByRequest
    | Crashed
    | OutOfMemory
    | Lost
    | Interrupted
    | DoesNotFit
    | TaskUnknown
    | KeyMissing
    | PayloadUnreadable
    | ResultUnwritable
)
"""Every way to end but the good one; each may carry an error."""

Outcome = Succeeded | Unsuccessful


def outcome_name(outcome: Outcome) -> str:
    """Return the word under which the outcome is stored and shown."""
    return str(outcome.__struct_config__.tag)
