"""prune: forget final jobs past their retention, results past their ttl, spent keys and leases.

transitions:
    completed --prune--> (none)
    dead --prune--> (none)
    cancelled --prune--> (none)
    expired --prune--> (none)
    blocked --parent_failed--> cancelled
    blocked --unblock--> queued
    blocked --unblock--> scheduled
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import Retention

from .forget import Ended, forget
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("prune")


def prune(tx: Transaction, tags: Sequence[int], rules: Sequence[Retention], limit: int) -> int:
    """Drop up to `limit` jobs and results of the queues; return how many."""
    dropped = 0
    for tag in tags:
        for rule in rules:
            dropped += _prune_jobs(tx, tag, rule, limit - dropped)
        dropped += len(tx.rows(_SQL["drop_results"], (tag, tx.now, limit - dropped)))
    tx.rows(_SQL["drop_keys"], (tx.now, limit))
    _prune_leases(tx, limit)
    tx.rows(_SQL["drop_capacities"])
    tx.rows(_SQL["drop_usages"], (limit,))
    return dropped


def _prune_jobs(tx: Transaction, tag: int, rule: Retention, limit: int) -> int:
    kept = tx.row(_SQL["count"], (tag, rule.state))
    spare = 0 if kept is None else int(kept[0]) - rule.count_max
    old: list[Ended] = []
    for row in tx.rows(_SQL["oldest"], (tag, rule.state, limit)):
        too_old = tx.now - row[4] >= rule.age_ms  # Guard: age
        too_many = len(old) < spare  # Guard: count
        if not (too_old or too_many):
            break
        old.append(Ended(*row[:4]))
    forget(tx, old)
    return len(old)


def _prune_leases(tx: Transaction, limit: int) -> None:
    done = tx.rows(_SQL["done_leases"], (limit,))
    tx.each(_SQL["forget_lease_queues"], done)
    tx.each(_SQL["forget_lease"], done)
