"""What has happened, as values in the past tense, for those who count, trace or alert.

A sink only observes: what it returns is ignored, and what it raises is logged and dropped. Where
there is no sink no event is made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from penstock.core.ids import JobId, LeaseId

_log = logging.getLogger("penstock.telemetry")


class JobEnqueued(msgspec.Struct, frozen=True, kw_only=True):
    """A broker has stored a job.

    Attributes:
        duplicate: nothing new was stored: the id or the key was known.
    """

    id: JobId
    task: str
    queue: str
    duplicate: bool


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed job begins to run.

    Attributes:
        attempt: claim number of the job.
        waited_ms: from its enqueue to the claim, by the clocks of those who stamped them.
    """

    id: JobId
    task: str
    queue: str
    attempt: int
    waited_ms: int


class AttemptFinished(msgspec.Struct, frozen=True, kw_only=True):
    """The broker has taken in what became of an attempt.

    Attributes:
        outcome: name of the outcome (`core.outcome`).
        settlement: name of what was decided (`core.settlement`).
        run_ms: from the claim to the end of user code.
    """

    id: JobId
    task: str
    queue: str
    attempt: int
    outcome: str
    settlement: str
    run_ms: int


class LeaseLost(msgspec.Struct, frozen=True, kw_only=True):
    """A running attempt belongs to nobody any more: its fence has moved on."""

    id: JobId
    task: str
    queue: str
    attempt: int


class JobReclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """A job was taken over after the loss of its worker.

    Attributes:
        worker: that ran it before, if known.
    """

    id: JobId
    task: str
    queue: str
    attempt: int
    lease: LeaseId
    worker: str | None


Event = JobEnqueued | AttemptStarted | AttemptFinished | LeaseLost | JobReclaimed


class EventSink(Protocol):
    """Is told of events, in the process and thread in which they happen. Must not block."""

    def __call__(self, event: Event, /) -> None:
        """Observe one event."""
        ...


def tell(sinks: Sequence[EventSink], event: Event) -> None:
    """Tell every sink; one that raises is named in the log and harms nobody else."""
    for sink in sinks:
        try:
            sink(event)
        except Exception:  # noqa: BLE001 - whatever a sink raises harms nobody else
            _log.exception("event sink %r failed on %s", sink, type(event).__name__)
