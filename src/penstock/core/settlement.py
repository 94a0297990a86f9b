"""A settlement is a value: what a worker decided about an attempt, guarded by its fence.

Source: River's `JobSetState*` constructors for the form, BullMQ's lock token for the guard
(ADR-0001).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from penstock.core.ids import Fence, JobId
from penstock.core.job import NO_CHARGES, Charges, Reason, StoredError
from penstock.core.usage import Usage


class _Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What all kinds carry.

    Attributes:
        id: the job.
        fence: the fence of the claim; a stale one writes nothing.
        outcome: name of the outcome, kept in the attempt's record.
        pid: process in which the user code ran; None: the process that claimed.
        error: what went wrong, kept in the attempt's record.
        usage: what the attempt was measured to take, kept in its record; None: not measured.
    """

    id: JobId
    fence: Fence
    outcome: str
    pid: int | None = None
    error: StoredError | None = None
    usage: Usage | None = None


class Complete(_Settlement, frozen=True, kw_only=True, tag="complete"):
    """running -> completed, with the result as JSON (None where the task has none to keep)."""

    result: bytes | None


class Retry(_Settlement, frozen=True, kw_only=True, tag="retry"):
    """running -> retrying, due `delay_ms` from now by the broker's clock."""

    delay_ms: int
    charges: Charges
    need: str | None = None


class Bury(_Settlement, frozen=True, kw_only=True, tag="bury"):
    """running -> dead."""

    reason: Reason
    charges: Charges = NO_CHARGES


class Snooze(_Settlement, frozen=True, kw_only=True, tag="snooze"):
    """running -> scheduled, due `delay_ms` from now; nothing is charged."""

    delay_ms: int
    charges: Charges = NO_CHARGES
    need: str | None = None


class Release(_Settlement, frozen=True, kw_only=True, tag="release"):
    """running -> queued at the place it had; nothing is charged.

    Attributes:
        need: the ready set to enter; None: the one of its spec. A suspect enters `ALONE`.
    """

    charges: Charges = NO_CHARGES
    need: str | None = None


class Cancel(_Settlement, frozen=True, kw_only=True, tag="cancel"):
    """running -> cancelled."""

    reason: Reason
    charges: Charges = NO_CHARGES


Settlement = Complete | Retry | Bury | Snooze | Release | Cancel


class Applied(StrEnum):
    """What became of one settlement."""

    APPLIED = "applied"
    """Written as asked."""
    CANCELLED = "cancelled"
    """A cancel had been requested: a retry, snooze or release was written as cancelled."""
    RESULT_DROPPED = "result_dropped"
    """Completed, but the broker had no room for the result."""
    STALE = "stale"
    """The fence has moved on; nothing was written."""
