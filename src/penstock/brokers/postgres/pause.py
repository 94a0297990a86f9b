"""pause and resume: stop and start the claims of one queue.

transitions: none.
"""

from __future__ import annotations

from typing import Final

from penstock.errors import UsageError

from .sleeper import feed_queue
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("pause")


def pause(tx: Transaction, queue: str) -> None:
    """Let claims of this queue return nothing."""
    _set_paused(tx, queue, is_paused=True)


def resume(tx: Transaction, queue: str) -> None:
    """Undo `pause`, and wake those who can be fed."""
    feed_queue(tx, _set_paused(tx, queue, is_paused=False))


def _set_paused(tx: Transaction, queue: str, *, is_paused: bool) -> int:
    found = tx.row(_SQL["pause"], {"queue": queue, "paused": is_paused})
    if found is None:  # Guard: known queue
        raise UsageError(f"queue {queue!r} is not registered: call register first")
    return int(found[0])
