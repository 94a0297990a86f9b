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

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.broker.stored import write_usage
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


class _Held(NamedTuple):
    """What a running job is known by while its fence holds."""

    no: int
    queue: int
    has_children: int
    cancel_requested: int
    claim_number: int
    worker: str
    pid: int
    claimed_at: int
    need: str
    spec_need: str | None


def settle(
    tx: Transaction, settlements: Sequence[Settlement], result_bytes_max: int
) -> list[Applied]:
    """Apply each settlement whose fence still holds; completions go in together."""
    _keep_usages(tx, settlements)
    applied = [Applied.STALE] * len(settlements)
    completions: dict[str, tuple[int, Complete]] = {}
    for place, item in enumerate(settlements):
        if isinstance(item, Complete):
            completions[item.id] = place, item
        else:
            found = tx.row(_SQL["held"], (item.id, item.fence))
            if found is not None:
                applied[place] = _settle_one(tx, _Held(*found), item)
    if completions:
        _complete(tx, completions, applied, result_bytes_max)
    return applied


def _keep_usages(tx: Transaction, settlements: Sequence[Settlement]) -> None:
    """Write what attempts were measured to take, each where its fence still holds."""
    measured = [(item.id, item.fence, item.usage) for item in settlements if item.usage is not None]
    if measured:
        tx.each(_SQL["usage"], [(job, fence, write_usage(one)) for job, fence, one in measured])
        tx.each(_SQL["trim_usages"], [(job, ATTEMPTS_KEPT) for job, _, _ in measured])


def _complete(
    tx: Transaction,
    completions: Mapping[str, tuple[int, Complete]],
    applied: list[Applied],
    result_bytes_max: int,
) -> None:
    """Apply completions, given by id with their places in `applied`."""
    parents: list[JobId] = []
    rows = [_completed(tx, item, result_bytes_max) for _, item in completions.values()]
    for job_id, queue, has_children in tx.each(_SQL["complete"], rows):
        place, item = completions[job_id]
        tx.moved(queue, State.RUNNING, State.COMPLETED)
        applied[place] = (
            Applied.APPLIED if _fits(item, result_bytes_max) else Applied.RESULT_DROPPED
        )
        if has_children:
            parents.append(item.id)
    if parents:
        parent_completed(tx, parents)


def _completed(tx: Transaction, item: Complete, result_bytes_max: int) -> Row:
    fits = _fits(item, result_bytes_max)
    error, result = _error(item.error), item.result if fits else None
    return (item.id, item.fence, tx.now, item.outcome, item.pid, error, result, not fits)


def _fits(item: Complete, result_bytes_max: int) -> bool:
    return item.result is None or len(item.result) <= result_bytes_max  # Guard: result fits


def _settle_one(
    tx: Transaction, held: _Held, item: Retry | Bury | Snooze | Release | Cancel
) -> Applied:
    if isinstance(item, Bury):
        _finish(tx, held, item, State.DEAD, item.reason)
    elif isinstance(item, Cancel):
        _finish(tx, held, item, State.CANCELLED, item.reason)
    elif held.cancel_requested:  # Guard: a requested cancel wins
        _finish(tx, held, item, State.CANCELLED, Reason.BY_OPERATOR)
        return Applied.CANCELLED
    else:
        _go_on(tx, held, item)
    return Applied.APPLIED


def _finish(
    tx: Transaction,
    held: _Held,
    item: Retry | Bury | Snooze | Release | Cancel,
    to: State,
    reason: Reason,
) -> None:
    end = _attempt_end(tx, held, item)
    tx.rows(_SQL["finish"], (*end, to, reason, _charges(item.charges)))
    tx.moved(held.queue, State.RUNNING, to)
    if held.has_children:
        parent_failed(tx, [item.id])


def _go_on(tx: Transaction, held: _Held, item: Retry | Snooze | Release) -> None:
    """Put the job back among those that wait, and keep its attempt apart from the next one."""
    due_at = None if isinstance(item, Release) else tx.now + item.delay_ms
    to = _WAITS_AS[type(item)]
    spec_need = held.need if held.spec_need is None else held.spec_need
    need = spec_need if item.need is None else item.need
    differs = spec_need if need != spec_need else None
    end = _attempt_end(tx, held, item)
    tx.rows(_SQL["go_on"], (*end, to, due_at, _charges(item.charges), need, differs))
    _, ended_at, outcome, pid, error = end
    kept = (item.id, held.claim_number, held.worker, pid, held.claimed_at, ended_at, outcome, error)
    tx.rows(_ATTEMPT["keep"], kept)
    if held.claim_number > ATTEMPTS_KEPT:
        tx.rows(_ATTEMPT["trim"], (item.id, held.claim_number - ATTEMPTS_KEPT))
    tx.moved(held.queue, State.RUNNING, to)
    if to is State.QUEUED:
        tx.fresh[held.queue, need] += 1


_WAITS_AS: Final = {Retry: State.RETRYING, Snooze: State.SCHEDULED, Release: State.QUEUED}


def _attempt_end(tx: Transaction, held: _Held, item: Settlement) -> Row:
    """Return what all kinds write: row, instant, outcome, pid, error."""
    pid = held.pid if item.pid is None else item.pid
    return (held.no, tx.now, item.outcome, pid, _error(item.error))


def _error(error: StoredError | None) -> bytes | None:
    return None if error is None else _ENCODE(error)


def _charges(charges: Charges) -> bytes | None:
    return None if charges == NO_CHARGES else _ENCODE(charges)
