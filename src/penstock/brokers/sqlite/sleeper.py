"""Sleepers: tokens left by claims that found nothing, taken by whoever makes a job claimable.

Taking a token and making the job claimable are one transaction; the wake-up itself is sent after
COMMIT (`wakeup.py`), so that the sleeper finds the job.
"""

from __future__ import annotations

from typing import Final

from .statements import read_statements
from .transaction import ReadySet, Transaction

_SQL: Final = read_statements("sleeper")


def feed_sleepers(tx: Transaction) -> None:
    """Take as many tokens as the jobs that became claimable in this operation can feed."""
    for ready_set, jobs in tx.fresh.items():
        if jobs > 0:
            take_sleepers(tx, ready_set, jobs)


def feed_queue(tx: Transaction, tag: int) -> None:
    """Count what waits in a queue that gives again, up to the number of its sleepers."""
    for need, sleepers in tx.rows(_SQL["awaited"], (tag,)):
        [(jobs,)] = tx.rows(_SQL["ready"], (tag, need, sleepers))
        tx.fresh[tag, need] += jobs


def take_sleepers(tx: Transaction, ready_set: ReadySet, jobs: int) -> None:
    """Take up to `jobs` tokens left at `ready_set`, longest waiting first."""
    found = tx.rows(_SQL["sleepers"], (*ready_set, jobs))
    if not found or tx.row(_SQL["is_paused"], ready_set[:1]) is not None:  # Guard: paused queue
        return
    tx.each(_SQL["take"], found)
    tx.wakes += ((token, ready_set) for (token,) in found)


def forget_sleeper(tx: Transaction, token: str) -> None:
    """Take the tokens of a listener that is closed or gone."""
    tx.rows(_SQL["take"], (token,))


def sleeping(tx: Transaction) -> list[str]:
    """Return every token that waits."""
    return [token for (token,) in tx.rows(_SQL["tokens"])]
