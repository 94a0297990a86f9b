"""promote: make due jobs claimable.

transitions:
    scheduled --due--> queued
    retrying --due--> queued
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.core.lifecycle import State

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("promote")


def promote(tx: Transaction, tags: Sequence[int], limit: int) -> int:
    """Promote up to `limit` jobs of the queues, earliest due time first; return how many."""
    due = [row for tag in tags for row in tx.rows(_SQL["due"], (tag, tx.now, limit))]
    if not due:
        return 0
    due.sort()
    tx.each(_SQL["promote"], [(no,) for _, _, no, *_ in due[:limit]])
    for _, _, _, queue, state, need in due[:limit]:
        tx.moved(queue, State(state), State.QUEUED)
        tx.fresh[queue, need] += 1
    return min(len(due), limit)


def next_due_in(tx: Transaction, tags: Sequence[int]) -> int | None:
    """Return milliseconds until the earliest job of the queues is due, None if there is none."""
    heads = [row[0] for tag in tags for row in tx.rows(_SQL["next_due"], (tag,))]
    return max(0, min(heads) - tx.now) if heads else None
