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

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

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

from . import arrays
from .family import parent_failed, send_count_down
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("settle")
_ATTEMPT: Final = read_statements("attempt")
_ENCODE: Final = msgspec.json.encode


class _Held(NamedTuple):
    """What a running job is known by while its fence holds."""

    id: str
    queue: int
    has_children: bool
    cancel_requested: bool
    claim_number: int
    worker: str
    pid: int
    claimed_at: int
    need: str
    spec_need: str | None


Parted = Retry | Bury | Snooze | Release | Cancel
"""What is settled one by one: each kind writes other columns."""


def is_in_one_flight(settlements: Sequence[Settlement]) -> bool:
    """Return whether `settle` sends all its statements without waiting for an answer."""
    return all(isinstance(item, Complete) for item in settlements)


def settle(
    tx: Transaction, settlements: Sequence[Settlement], result_bytes_max: int
) -> Callable[[], list[Applied]]:
    """Apply each settlement whose fence still holds; completions go in together.

    Returns:
        What reads what became of each, before COMMIT or after it.
    """
    _send_usages(tx, settlements)
    completions = [item for item in settlements if isinstance(item, Complete)]
    others = {item.id: item for item in settlements if not isinstance(item, Complete)}
    read_completed = _send_completions(tx, completions, result_bytes_max)
    applied: dict[JobId, Applied] = {}
    if others:
        asked = {"ids": list(others), "fences": [item.fence for item in others.values()]}
        for held in map(_Held._make, tx.rows(_SQL["held"], asked)):
            applied[JobId(held.id)] = _settle_one(tx, held, others[JobId(held.id)])

    def read() -> list[Applied]:
        applied.update(read_completed())
        return [applied.get(item.id, Applied.STALE) for item in settlements]

    return read


def _send_usages(tx: Transaction, settlements: Sequence[Settlement]) -> None:
    """Write what attempts were measured to take, each where its fence still holds."""
    usages = [None if item.usage is None else write_usage(item.usage) for item in settlements]
    if any(usages):
        values = {
            "id": arrays.uuids([item.id for item in settlements]),
            "fence": arrays.uuids([item.fence for item in settlements]),
            "usage": arrays.byteas(usages),
            "kept": ATTEMPTS_KEPT,
        }
        tx.send(_SQL["usages"], values)


def _send_completions(
    tx: Transaction, items: Sequence[Complete], result_bytes_max: int
) -> Callable[[], dict[JobId, Applied]]:
    if not items:
        return dict
    items = sorted(items, key=lambda item: item.id)
    fits = [_fits(item, result_bytes_max) for item in items]
    values = {
        "id": arrays.uuids([item.id for item in items]),
        "fence": arrays.uuids([item.fence for item in items]),
        "outcome": arrays.texts([item.outcome for item in items]),
        "pid": arrays.bigints([item.pid for item in items]),
        "error": arrays.byteas([_error(item.error) for item in items]),
        "result": arrays.byteas(
            [item.result if fit else None for item, fit in zip(items, fits, strict=True)]
        ),
        "is_dropped": arrays.bools([not fit for fit in fits]),
        "asked": len(items),
    }
    completed = tx.send(_SQL["complete"], values)
    read_unblocked = send_count_down(tx, None)

    def read() -> dict[JobId, Applied]:
        [(some, _)] = completed.fetchall()
        read_unblocked()
        here = None if some is None else set(some)
        return {
            item.id: Applied.APPLIED if fit else Applied.RESULT_DROPPED
            for item, fit in zip(items, fits, strict=True)
            if here is None or item.id in here
        }

    return read


def _fits(item: Complete, result_bytes_max: int) -> bool:
    return item.result is None or len(item.result) <= result_bytes_max  # Guard: result fits


def _settle_one(tx: Transaction, held: _Held, item: Parted) -> Applied:
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


def _finish(tx: Transaction, held: _Held, item: Parted, to: State, reason: Reason) -> None:
    end = _attempt_end(tx, held, item)
    tx.send(
        _SQL["finish"], {**end, "state": to, "reason": reason, "charges": _charges(item.charges)}
    )
    tx.moved(held.queue, State.RUNNING, to)
    if held.has_children:
        parent_failed(tx, [item.id])


def _go_on(tx: Transaction, held: _Held, item: Retry | Snooze | Release) -> None:
    """Put the job back among those that wait, and keep its attempt apart from the next one."""
    to = _WAITS_AS[type(item)]
    spec_need = held.need if held.spec_need is None else held.spec_need
    need = spec_need if item.need is None else item.need
    end = _attempt_end(tx, held, item)
    values = {
        "state": to,
        "due_at": None if isinstance(item, Release) else tx.now + item.delay_ms,
        "charges": _charges(item.charges),
        "need": need,
        "spec_need": spec_need if need != spec_need else None,
    }
    tx.send(_SQL["go_on"], {**end, **values})
    attempt = {
        "job": item.id,
        "number": held.claim_number,
        "worker": held.worker,
        "started_at": held.claimed_at,
        "ended_at": tx.now,
    }
    tx.send(_ATTEMPT["keep"], {**end, **attempt})
    if held.claim_number > ATTEMPTS_KEPT:
        number = held.claim_number - ATTEMPTS_KEPT
        tx.send(_ATTEMPT["trim"], {"job": item.id, "number": number})
    tx.moved(held.queue, State.RUNNING, to)
    if to is State.QUEUED:
        tx.fresh[held.queue, need] += 1


_WAITS_AS: Final = {Retry: State.RETRYING, Snooze: State.SCHEDULED, Release: State.QUEUED}


def _attempt_end(tx: Transaction, held: _Held, item: Parted) -> dict[str, Any]:
    """Return what all kinds write."""
    return {
        "id": held.id,
        "now": tx.now,
        "outcome": item.outcome,
        "pid": held.pid if item.pid is None else item.pid,
        "error": _error(item.error),
    }


def _error(error: StoredError | None) -> bytes | None:
    return None if error is None else _ENCODE(error)


def _charges(charges: Charges) -> bytes | None:
    return None if charges == NO_CHARGES else _ENCODE(charges)
