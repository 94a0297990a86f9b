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


#: Changes of counters folded in one call. A busy queue makes some thousands between two calls.
_CHANGES_MAX: Final = 50_000
#: Rows without a job that are dropped in one call; a release that makes them is soon gone.
_LEFTOVERS_MAX: Final = 1_000


def prune(tx: Transaction, tags: Sequence[int], rules: Sequence[Retention], limit: int) -> int:
    """Drop up to `limit` jobs and results of the queues; return how many."""
    dropped = 0
    for tag in tags:
        for rule in rules:
            dropped += _prune_jobs(tx, tag, rule, limit - dropped)
        asked = {"queue": tag, "limit": limit - dropped}
        dropped += len(tx.rows(_SQL["drop_results"], asked))
    tx.send(_SQL["drop_keys"], {"limit": limit})
    tx.send(_SQL["drop_leases"], {"limit": limit})
    return dropped


def fold_counts(tx: Transaction) -> None:
    """Add the changes of the counters up, so that `counts` has few to read."""
    tx.send(_SQL["fold_counts"], {"changes_max": _CHANGES_MAX})


def drop_leftovers(tx: Transaction) -> None:
    """Forget what belongs to leases that are forgotten, and to jobs that an old release forgot."""
    tx.send(_SQL["drop_capacities"])
    tx.send(_SQL["drop_usages"], {"limit": _LEFTOVERS_MAX})


def _prune_jobs(tx: Transaction, tag: int, rule: Retention, limit: int) -> int:
    [(kept,)] = tx.rows(_SQL["count"], {"queue": tag, "state": rule.state})
    spare = kept - rule.count_max
    old: list[Ended] = []
    asked = {"queue": tag, "state": rule.state, "limit": limit}
    for row in tx.rows(_SQL["oldest"], asked):
        too_old = tx.now - row[4] >= rule.age_ms  # Guard: age
        too_many = len(old) < spare  # Guard: count
        if not (too_old or too_many):
            break
        old.append(Ended(*row[:4]))
    if old:
        forget(tx, old)
        # What was forgotten here is not yet among the changes that the next rule counts.
        tx.flush_counts()
    return len(old)
