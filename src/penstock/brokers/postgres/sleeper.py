"""Sleepers: tokens left by claims that found nothing, taken by whoever made a job claimable.

They are looked for after COMMIT, in a transaction of their own (`claim.py` says why no sleeper is
missed), and told by NOTIFY. It is a hint: what fails here fails silently, and the slow poll of the
sleeper finds the job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from penstock.core.need import by_wait_set

from .statements import read_statements
from .transaction import ReadySet, Transaction

_SQL: Final = read_statements("sleeper")


def wake_sleepers(tx: Transaction, fresh: Mapping[ReadySet, int]) -> Callable[[], None]:
    """Take as many tokens as the jobs that became claimable can feed, and wake their listeners."""
    for (queue, need), jobs in sorted(by_wait_set(fresh).items()):
        tx.send(_SQL["wake"], {"queue": queue, "need": need, "jobs": jobs})
    return lambda: None


def feed_queue(tx: Transaction, tag: int) -> None:
    """Let all look who sleep at a queue that gives again: who finds nothing sleeps again."""
    for need, sleepers in tx.rows(_SQL["awaited"], {"queue": tag}):
        tx.fresh[tag, need] += sleepers


def forget_sleeper(tx: Transaction, token: str) -> None:
    """Take the tokens of a listener that is closed."""
    tx.send(_SQL["forget"], {"token": token})


def forget_dead_sleepers(tx: Transaction) -> None:
    """Take the tokens of listeners that are gone without a word."""
    tx.send(_SQL["forget_dead"])


def hint_sleepers(tx: Transaction, fresh: Mapping[ReadySet, int]) -> None:
    """Wake listeners when a transaction of the caller's commits, and take no lock meanwhile."""
    for (queue, need), jobs in sorted(by_wait_set(fresh).items()):
        tx.send(_SQL["hint"], {"queue": queue, "need": need, "jobs": jobs})
