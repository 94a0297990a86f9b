"""settle: apply what workers decided about running jobs.

transitions:
    running --complete--> completed
    running --retry--> retrying
    running --bury--> dead
    running --snooze--> scheduled
    running --release--> queued
    running --cancel--> cancelled
    blocked --unblock--> queued
    blocked --unblock--> scheduled
    blocked --parent_failed--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.core.ids import JobId
from penstock.core.job import ATTEMPTS_KEPT, NO_CHARGES, Charges, Reason, StoredError
from penstock.core.lifecycle import State
from penstock.core.settlement import (
    Applied,
    Bury,
    Cancel,
    Complete,
    Release,
    Retry,
    Settlement,
    Snooze,
)

from .family import parent_completed, parent_failed
from .statements import read_statements
from .transaction import Row, Transaction

_SQL: Final = read_statements("settle")
_ATTEMPT: Final = read_statements("attempt")
_ENCODE: Final = msgspec.json.encode


def settle(
    tx: Transaction, settlements: Sequence[Settlement], result_bytes_max: int
) -> list[Applied]:
    """Apply each settlement whose fence still holds; completions go in together."""
    completions = [item for item in settlements if type(item) is Complete]
    applied = _complete(tx, completions, result_bytes_max) if completions else {}
    return [
        applied[item.id] if type(item) is Complete else _settle_one(tx, item)
        for item in settlements
    ]


def _complete(
    tx: Transaction, items: Sequence[Complete], result_bytes_max: int
) -> dict[JobId, Applied]:
    applied = dict.fromkeys([item.id for item in items], Applied.STALE)
    dropped = {
        item.id
        for item in items
        if item.result is not None and len(item.result) > result_bytes_max  # Guard: result fits
    }
    rows = (
        (*_attempt_end(tx, item), None if item.id in dropped else item.result, item.id in dropped)
        for item in items
    )
    parents: list[str] = []
    for job_id, queue, has_children in tx.each(_SQL["complete"], rows):
        applied[job_id] = Applied.RESULT_DROPPED if job_id in dropped else Applied.APPLIED
        tx.moved(queue, State.RUNNING, State.COMPLETED)
        if has_children:
            parents.append(job_id)
    if parents:
        parent_completed(tx, parents)
    return applied


def _settle_one(tx: Transaction, item: Settlement) -> Applied:
    if isinstance(item, Bury):
        return _finish(tx, item, State.DEAD, item.reason, Applied.APPLIED)
    if isinstance(item, Cancel):
        return _finish(tx, item, State.CANCELLED, item.reason, Applied.APPLIED)
    if isinstance(item, Complete):
        return _complete(tx, [item], 0)[item.id]
    if _go_on(tx, item):
        return Applied.APPLIED
    return _finish(tx, item, State.CANCELLED, Reason.BY_OPERATOR, Applied.CANCELLED)


def _finish(
    tx: Transaction,
    item: Retry | Bury | Snooze | Release | Cancel,
    to: State,
    reason: Reason,
    answer: Applied,
) -> Applied:
    ended = tx.row(_SQL["finish"], (*_attempt_end(tx, item), to, reason, _charges(item.charges)))
    if ended is None:
        return Applied.STALE
    job_id, queue, has_children = ended
    tx.moved(queue, State.RUNNING, to)
    if has_children:
        parent_failed(tx, [job_id])
    return answer


def _go_on(tx: Transaction, item: Retry | Snooze | Release) -> bool:
    """Put the job back among those that wait; False: stale, or it is to be cancelled."""
    due_at = None if isinstance(item, Release) else tx.now + item.delay_ms
    to = _WAITS_AS[type(item)]
    end = _attempt_end(tx, item)
    row = tx.row(_SQL["go_on"], (*end, to, due_at, _charges(item.charges), item.need))
    if row is None:
        return False
    queue, need, number, worker, pid, claimed_at = row
    error = end[-1]
    attempt = (item.id, number, worker, pid, claimed_at, tx.now, item.outcome, error)
    tx.rows(_ATTEMPT["keep"], attempt)
    if number > ATTEMPTS_KEPT:
        tx.rows(_ATTEMPT["trim"], (item.id, number - ATTEMPTS_KEPT))
    tx.moved(queue, State.RUNNING, to)
    if to is State.QUEUED:
        tx.fresh[queue, need] += 1
    return True


_WAITS_AS: Final = {Retry: State.RETRYING, Snooze: State.SCHEDULED, Release: State.QUEUED}


def _attempt_end(tx: Transaction, item: Settlement) -> Row:
    """Return what all kinds write: id, fence, instant, outcome, pid, error."""
    return (item.id, item.fence, tx.now, item.outcome, item.pid, _error(item.error))


def _error(error: StoredError | None) -> bytes | None:
    return None if error is None else _ENCODE(error)


def _charges(charges: Charges) -> bytes | None:
    return None if charges == NO_CHARGES else _ENCODE(charges)
