"""promote: make due jobs claimable.

transitions:
    scheduled --due--> queued
    retrying --due--> queued
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.core.ids import Fence, LeaseId

from .statements import read_statements
from .transaction import Sent, Transaction

_SQL: Final = read_statements("promote")


def promote(tx: Transaction, tags: Sequence[int], limit: int) -> int:
    """Promote up to `limit` jobs of the queues, earliest due time first; return how many."""
    return count_promoted(tx, send_promote(tx, tags, limit))


def send_promote(
    tx: Transaction,
    tags: Sequence[int],
    limit: int,
    *,
    lease: LeaseId | None = None,
    fence: Fence | None = None,
) -> Sent:
    """Send what promotes; `count_promoted` reads it.

    Args:
        tx: the transaction.
        tags: of the queues.
        limit: jobs.
        lease: of the claim that promotes; it must be good.
        fence: of that claim; where it has taken jobs already it promotes no more.
    """
    values = {"queues": list(tags), "limit": limit, "lease": lease, "fence": fence}
    return tx.send(_SQL["promote"], values)


def count_promoted(tx: Transaction, promoted: Sent) -> int:
    """Note which ready sets gained jobs, and return how many."""
    total = 0
    for queue, need, jobs in promoted.fetchall():
        tx.fresh[queue, need] += jobs
        total += jobs
    return total


def next_due_in(tx: Transaction, tags: Sequence[int]) -> int | None:
    """Return milliseconds until the earliest job of the queues is due, None if there is none."""
    [(left_ms,)] = tx.rows(_SQL["next_due_in"], {"queues": list(tags)})
    return None if left_ms is None else max(0, left_ms)
