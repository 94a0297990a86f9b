"""Every error Penstock raises, cut by whose fault it is and what is known afterwards.

PenstockError
├── UsageError                 the caller's program or settings are wrong; nothing was written
│   ├── UnknownTask            no task of that name in the registry
│   ├── InvalidTransition      the lifecycle table has no such row
│   ├── BadSetting             a setting, option, duration, size or name breaks its rule
│   ├── BadArguments           a call does not fit the task's signature
│   ├── SecretKeyMissing       a Secret cannot be encrypted, or read back, without its key
│   └── WrongContext           right call, wrong place (result() in a running event loop, ...)
├── BrokerError
│   ├── Unavailable            definite: nothing was written, calling again is safe
│   ├── OutcomeUnknown         the write may or may not have happened; retry with the same id or key
│   ├── LeaseLost              the fence moved on; nothing was written
│   ├── JobNotFound            no job of that id (never enqueued, deleted, or pruned)
│   ├── QueueFull              definite: refused by a limit; carries retry_after_s
│   ├── DuplicateKey           definite: the key is taken by a job with other arguments
│   ├── PayloadTooLarge        definite: larger than payload_bytes_max
│   └── EnqueueRefused         some jobs of one enqueue_many were refused; carries both lists
├── ResultError
│   ├── JobDead                the job ended dead; carries reason and the stored error
│   ├── JobCancelled           the job was cancelled; carries the reason
│   ├── JobExpired             the job expired before it ran
│   ├── ResultGone             the job completed, its result outlived its result_ttl
│   └── ResultTimeout          not final within the timeout; the job goes on
└── SerializationError         a value cannot be written as JSON, or read back as its type

Control signals, raised by tasks and outside PenstockError: Retry, Snooze, Discard (signals.py),
and, raised into tasks: SoftTimeLimit, CancelRequested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PenstockError(Exception):
    """Root of all errors that Penstock raises."""


class UsageError(PenstockError):
    """The caller's program or settings are wrong; nothing was written."""


class UnknownTask(UsageError):
    """No task of that name is in the registry."""


class InvalidTransition(UsageError):
    """The lifecycle table has no row for this state and event."""


class BadSetting(UsageError, ValueError):
    """A setting, option, duration, size or name breaks its rule."""


class NewerSchema(BadSetting):
    """The broker holds what only a newer Penstock may open; nothing was changed."""


class BadArguments(UsageError, TypeError):
    """A call does not fit the signature of its task."""


class SecretKeyMissing(UsageError):
    """There is no key to encrypt a Secret argument with, or not the one that it was encrypted with.

    At enqueue nothing was written.
    """


class WrongContext(UsageError, RuntimeError):
    """The right call in the wrong place; the message names the call to use there."""


class BrokerError(PenstockError):
    """The broker refused, or could not be reached."""


class Unavailable(BrokerError):
    """Definite: nothing was written. Calling again is safe.

    Attributes:
        lasts: calling again cannot help before somebody mends what the message names.
    """

    lasts = False


class OutcomeUnknown(BrokerError):
    """The write may or may not have happened.

    Enqueueing again makes one job and never two where a `key` is given (or, at the port, the same
    job id); else it may make a second one.
    """


class LeaseLost(BrokerError):
    """The fence has moved on: another attempt owns the job, nothing was written."""


class JobNotFound(BrokerError, LookupError):
    """No job of that id: it was never enqueued, was deleted, or its retention is over."""


class QueueFull(BrokerError):
    """Definite: a limit of the queue refused the job; nothing was written.

    Attributes:
        retry_after_s: seconds after which a new try is worth while.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """Keep the message and the hint."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DuplicateKey(BrokerError):
    """Definite: the key belongs to a job with other arguments; nothing was written.

    Attributes:
        job_id: the job that holds the key.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        """Keep the message and the holder of the key."""
        super().__init__(message)
        self.job_id = job_id


class PayloadTooLarge(BrokerError):
    """Definite: the payload is larger than payload_bytes_max; nothing was written."""


class EnqueueRefused(BrokerError):
    """Some jobs of one `enqueue_many` were refused; the others are accepted and stay so.

    Attributes:
        accepted: handles of the accepted jobs, in call order.
        refused: (index in the call, error) of each refused job; the error's class says whether
            the job may be stored all the same (OutcomeUnknown) or is not (all others).
    """

    def __init__(
        self,
        message: str,
        *,
        accepted: Sequence[object],
        refused: Sequence[tuple[int, PenstockError]],
    ) -> None:
        """Keep the message and both lists."""
        super().__init__(message)
        self.accepted = list(accepted)
        self.refused = list(refused)


class ResultError(PenstockError):
    """The job has no result to give."""


class JobDead(ResultError):
    """The job ended dead.

    Attributes:
        job_id: the job.
        reason: why it was buried, one of `core.job.Reason`.
        error: stored text of the last error with its traceback, or None.
    """

    def __init__(self, message: str, *, job_id: str, reason: str, error: str | None) -> None:
        """Keep the message and the stored facts."""
        super().__init__(message)
        self.job_id = job_id
        self.reason = reason
        self.error = error


class JobCancelled(ResultError):
    """The job was cancelled: by an operator, by its own Discard, or because a parent failed.

    Attributes:
        job_id: the job.
        reason: one of `core.job.Reason`.
    """

    def __init__(self, message: str, *, job_id: str, reason: str) -> None:
        """Keep the message and the reason."""
        super().__init__(message)
        self.job_id = job_id
        self.reason = reason


class JobExpired(ResultError):
    """The job passed its deadline while it still waited; it never ran again."""


class ResultGone(ResultError):
    """The job completed, but its result was dropped by its result_ttl or for want of memory."""


class ResultTimeout(ResultError, TimeoutError):
    """The job was not final within the timeout; it goes on, and asking again is safe."""


class SerializationError(PenstockError, ValueError):
    """A value cannot be written as JSON, or what was stored cannot be read as its type."""
