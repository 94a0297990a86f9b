"""What has happened, as values in the past tense, for those who count, trace or alert.

A sink only observes: what it returns is ignored, and what it raises is logged once and dropped.
Where there is no sink no event is made.

The supervisor runs no user code and so tells no sink: jobs that it settles, those of children and
of the dead, are in its log and health counts only.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.core.ids import JobId
from penstock.signals import SoftTimeLimit


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
        run_ms: from the claim to the broker's answer, by this process's monotonic clock.
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


Event = JobEnqueued | AttemptStarted | AttemptFinished | LeaseLost


class EventSink(Protocol):
    """Is told of events, in the process and thread in which they happen. Must not block."""

    def __call__(self, event: Event, /) -> None:
        """Observe one event."""
        ...


class EventSinks:
    """The sinks of one app. False where there are none.

    Args:
        *sinks: to begin with.
    """

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = sinks
        self._failed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def add(self, sink: EventSink) -> None:
        """Tell `sink` of every event from now on, after those added before."""
        self._sinks = (*self._sinks, sink)

    def tell(self, event: Event) -> None:
        """Tell every sink. One that raises harms nobody; its first failure is logged.

        Raises:
            SoftTimeLimit: the time limit of the job that runs here passed meanwhile; other
                interruptions of a job pass through in the same way.
        """
        for number, sink in enumerate(self._sinks):
            try:
                sink(event)
            except SoftTimeLimit:
                # Meant for the task in whose thread this runs, not raised by the sink.
                raise
            except (Exception, SystemExit):  # noqa: BLE001 - whatever it raises harms nobody else
                self._note(number, sink, event)

    def _note(self, number: int, sink: EventSink, event: Event) -> None:
        """Log the failure that is being handled: in full the first time, then at debug only."""
        # Imported here: a program that only enqueues pays for nothing it does not use.
        import logging

        # Race: two threads may both be the first; then it is told twice.
        is_first = number not in self._failed
        self._failed.add(number)
        logging.getLogger("penstock.telemetry").log(
            logging.ERROR if is_first else logging.DEBUG,
            "event sink %r failed on %s; it is still told of events, further failures are logged "
            "at debug only",
            sink,
            type(event).__name__,
            exc_info=True,
        )
