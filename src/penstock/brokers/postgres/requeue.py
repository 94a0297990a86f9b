"""requeue: give final jobs a new budget of attempts.

transitions:
    dead --requeue--> queued
    cancelled --requeue--> queued
    expired --requeue--> queued
    completed --requeue--> queued
    cancelled --requeue--> blocked
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import OperatorAnswer
from penstock.core.ids import JobId
from penstock.core.job import ATTEMPTS_KEPT, Reason
from penstock.core.lifecycle import FINAL, State

from .family import children_of, held_back_by, hold_back
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("requeue")
_ATTEMPT: Final = read_statements("attempt")


def requeue(tx: Transaction, ids: Sequence[JobId]) -> list[OperatorAnswer]:
    """Requeue each job that is final, and bring back the children that it took down."""
    return [_requeue_one(tx, job_id) for job_id in ids]


def _requeue_one(tx: Transaction, job_id: JobId) -> OperatorAnswer:
    found = tx.row(_SQL["find"], {"id": job_id})
    if found is None:
        return OperatorAnswer.NOT_FOUND
    state, reason, _ = found
    if state not in FINAL:  # Guard: only final jobs
        return OperatorAnswer.WRONG_STATE
    held_back, _ = held_back_by(tx, job_id)
    if held_back and reason == Reason.PARENT_FAILED:  # Guard: parents first
        _revive(tx, job_id, held_back)
    else:
        _revive(tx, job_id, 0)
    return OperatorAnswer.DONE


def _revive(tx: Transaction, first: JobId, parents_left: int) -> None:
    """Move a final job back, and the children that it took down back to blocked."""
    todo = [(first, parents_left)]
    while todo:
        job_id, parents_left = todo.pop()
        was_completed = _revive_one(tx, job_id, parents_left)
        for child, ignores in children_of(tx, job_id):
            found = tx.row(_SQL["find"], {"id": child})
            if found is None:
                # Race: forgotten since its edge was read.
                continue
            state, reason, _ = found
            if was_completed or ignores:
                # The edge was counted down; now it holds the child back again.
                hold_back(tx, child)
            elif state == State.CANCELLED and reason == Reason.PARENT_FAILED:
                held_back, broken = held_back_by(tx, child)
                if not broken:  # Guard: no parent stands failed
                    todo.append((child, held_back))


def _revive_one(tx: Transaction, job_id: JobId, parents_left: int) -> bool:
    """Give one job a new budget and a new deadline; return whether it had completed."""
    [(before, _, _)] = tx.rows(_SQL["find"], {"id": job_id})
    to = State.BLOCKED if parents_left else State.QUEUED
    values = {"id": job_id, "state": to, "parents_left": parents_left, "now": tx.now}
    [(queue, need, number, *attempt)] = tx.rows(_SQL["requeue"], values)
    if number > 0 and attempt[3] is not None:
        names = ("worker", "pid", "started_at", "ended_at", "outcome", "error")
        kept = dict(zip(names, attempt, strict=True))
        tx.send(_ATTEMPT["keep"], {"job": job_id, "number": number, **kept})
        # Bound: a job may be requeued for ever.
        tx.send(_ATTEMPT["trim"], {"job": job_id, "number": number - ATTEMPTS_KEPT})
    tx.moved(queue, State(before), to)
    if to is State.QUEUED:
        tx.fresh[queue, need] += 1
    return bool(before == State.COMPLETED)
