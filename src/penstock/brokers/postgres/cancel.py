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
    found = tx.row(_SQL["find"], {"id": job_id})
    if found is None:
        return CancelAnswer.NOT_FOUND
    state, queue, has_children, lease = found
    if state in FINAL:  # Guard: final jobs stay as they are
        return CancelAnswer.TOO_LATE
    if state == State.RUNNING:  # Guard: a running job is only asked
        tx.send(_SQL["request"], {"id": job_id})
        tx.send(_SQL["nudge"], {"lease": lease})
        return CancelAnswer.REQUESTED
    tx.send(_SQL["cancel"], {"id": job_id, "now": tx.now})
    tx.moved(queue, State(state), State.CANCELLED)
    if has_children:
        parent_failed(tx, [job_id])
    return CancelAnswer.CANCELLED
