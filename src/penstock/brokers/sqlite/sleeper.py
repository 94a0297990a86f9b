"""Sleepers: tokens left by claims that found nothing, taken by whoever makes a job claimable.

Taking a token and making the job claimable are one transaction; the wake-up itself is sent after
COMMIT (`wakeup.py`), so that the sleeper finds the job.
"""

from __future__ import annotations

from typing import Final

from penstock.core.need import by_wait_set

from .statements import read_statements
from .transaction import ReadySet, Transaction

_SQL: Final = read_statements("sleeper")


def feed_sleepers(tx: Transaction) -> None:
    """Take as many tokens as the jobs that became claimable in this operation can feed."""
    for place, jobs in by_wait_set(tx.fresh).items():
        take_sleepers(tx, place, jobs)


def feed_queue(tx: Transaction, tag: int) -> None:
    """Let all look who sleep at a queue that gives again: who finds nothing sleeps again."""
    for need, sleepers in tx.rows(_SQL["awaited"], (tag,)):
        tx.fresh[tag, need] += sleepers


def take_sleepers(tx: Transaction, place: ReadySet, jobs: int) -> None:
    """Take up to `jobs` tokens left at a queue's `wait_set`, longest waiting first."""
    found = tx.rows(_SQL["sleepers"], (*place, jobs))
    if not found or tx.row(_SQL["is_paused"], place[:1]) is not None:  # Guard: paused queue
        return
    tx.each(_SQL["take"], found)
    tx.wakes += ((token, place) for (token,) in found)


def forget_sleeper(tx: Transaction, token: str) -> None:
    """Take the tokens of a listener that is closed or gone."""
    tx.rows(_SQL["take"], (token,))


def sleeping(tx: Transaction) -> list[str]:
    """Return every token that waits."""
    return [token for (token,) in tx.rows(_SQL["tokens"])]
