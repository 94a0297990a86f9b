"""cancel: end waiting jobs, and ask running ones to end.

transitions:
    blocked --cancel--> cancelled
    scheduled --cancel--> cancelled
    queued --cancel--> cancelled
    retrying --cancel--> cancelled
    running --cancel--> running
    blocked --unblock--> queued
    blocked --unblock--> scheduled
    blocked --parent_failed--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import CancelAnswer
from penstock.core.ids import JobId
from penstock.core.lifecycle import FINAL, State

from .family import parent_failed
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("cancel")


def cancel(tx: Transaction, ids: Sequence[JobId]) -> list[CancelAnswer]:
    """Cancel each job as its state allows."""
    return [_cancel_one(tx, job_id) for job_id in ids]


def _cancel_one(tx: Transaction, job_id: JobId) -> CancelAnswer:
    found = tx.row(_SQL["find"], (job_id,))
    if found is None:
        return CancelAnswer.NOT_FOUND
    state, queue, has_children, wake_token = found
    if state in FINAL:  # Guard: final jobs stay as they are
        return CancelAnswer.TOO_LATE
    if state == State.RUNNING:  # Guard: a running job is only asked
        tx.rows(_SQL["request"], (job_id,))
        if wake_token is not None:
            tx.nudges.append(wake_token)
        return CancelAnswer.REQUESTED
    tx.rows(_SQL["cancel"], (job_id, tx.now))
    tx.moved(queue, State(state), State.CANCELLED)
    if has_children:
        parent_failed(tx, [job_id])
    return CancelAnswer.CANCELLED
