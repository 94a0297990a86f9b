"""expire: end jobs that waited past their deadline.

transitions:
    blocked --expire--> expired
    scheduled --expire--> expired
    queued --expire--> expired
    retrying --expire--> expired
    blocked --unblock--> queued
    blocked --unblock--> scheduled
    blocked --parent_failed--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.core.lifecycle import State

from .family import parent_failed
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("expire")


def expire(tx: Transaction, tags: Sequence[int], limit: int) -> int:
    """Expire up to `limit` jobs of the queues, earliest deadline first; return how many."""
    asked = {"queues": list(tags), "now": tx.now, "limit": limit}
    expired = 0
    for _, job_id in tx.rows(_SQL["late"], asked):
        # The end of a parent in this very batch may have moved it, so its state is read now.
        waiting = tx.row(_SQL["waiting"], {"id": job_id})
        if waiting is None:
            continue
        state, queue, has_children = waiting
        tx.send(_SQL["expire"], {"id": job_id, "now": tx.now})
        expired += 1
        tx.moved(queue, State(state), State.EXPIRED)
        if has_children:
            parent_failed(tx, [job_id])
    return expired
