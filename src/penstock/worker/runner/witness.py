"""Tells event sinks and the log what becomes of attempts; nothing here decides anything."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from penstock.core.ids import enqueued_at_of
from penstock.core.job import Claimed
from penstock.core.settlement import Applied, Complete, Settlement
from penstock.telemetry.events import (
    AttemptFinished,
    AttemptStarted,
    EventSinks,
    LeaseLost,
)
from penstock.telemetry.logs import fields_of
from penstock.worker.runner.attempts import RunnerAttempt

_log = logging.getLogger("penstock.runner")


class Witness:
    """Sees attempts start and end.

    Args:
        sinks: told of every event; where there are none, none is made.
    """

    def __init__(self, sinks: EventSinks) -> None:
        self._sinks = sinks

    def started(self, attempts: Sequence[RunnerAttempt]) -> None:
        """Claimed jobs begin to run."""
        if not self._sinks:
            return
        for attempt in attempts:
            job = attempt.job
            event = AttemptStarted(
                id=job.id,
                task=job.spec.task,
                queue=job.queue,
                attempt=job.claim_number,
                waited_ms=max(0, job.claimed_at - enqueued_at_of(job.id)),
            )
            self._sinks.tell(event)

    def settled(self, attempt: RunnerAttempt, settlement: Settlement, answer: Applied) -> None:
        """The broker has answered for an attempt. A completed job is told at debug only."""
        if answer is Applied.STALE:
            attempt.lose("its settlement was refused")
        elif answer is not Applied.APPLIED or type(settlement) is not Complete:
            _log.info(*_line(attempt.job, settlement, answer), extra=fields_of(attempt.job))
        elif _log.isEnabledFor(logging.DEBUG):
            _log.debug(*_line(attempt.job, settlement, answer), extra=fields_of(attempt.job))
        if self._sinks:
            self._sinks.tell(_event(attempt, settlement, answer))


def _line(job: Claimed, settlement: Settlement, answer: Applied) -> tuple[str, ...]:
    became = str(settlement.__struct_config__.tag) if answer is Applied.APPLIED else answer.value
    error = settlement.error
    return (
        "job %s (%s): %s -> %s%s",
        job.id,
        job.spec.task,
        settlement.outcome,
        became,
        "" if error is None else f": {error.kind}: {error.message}",
    )


def _event(
    attempt: RunnerAttempt, settlement: Settlement, answer: Applied
) -> AttemptFinished | LeaseLost:
    job = attempt.job
    if answer is Applied.STALE:
        return LeaseLost(id=job.id, task=job.spec.task, queue=job.queue, attempt=job.claim_number)
    return AttemptFinished(
        id=job.id,
        task=job.spec.task,
        queue=job.queue,
        attempt=job.claim_number,
        outcome=settlement.outcome,
        settlement=str(settlement.__struct_config__.tag),
        # Not by `claimed_at`, which is the broker's clock: that of this host may be hours away.
        run_ms=round((time.monotonic() - attempt.claimed_s) * 1000),
    )
