"""register: give each queue its tag.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.core.ids import QUEUE_TAG_MAX
from penstock.errors import UsageError

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("register")


def register(tx: Transaction, queues: Sequence[str]) -> dict[str, int]:
    """Return the tag of each queue, giving one to new names. Cost: one look-up per name."""
    tx.send(_SQL["one_at_a_time"])
    return {queue: _tag_of(tx, queue) for queue in queues}


def known_queues(tx: Transaction) -> dict[str, int]:
    """Return the tags of all queues. Cost: one row per queue."""
    return {name: tag for tag, name in tx.rows(_SQL["all"])}


def _tag_of(tx: Transaction, queue: str) -> int:
    found = tx.row(_SQL["tag_of"], {"queue": queue})
    if found is not None:  # Guard: a tag never changes
        return int(found[0])
    tag = int(tx.rows(_SQL["next_tag"])[0][0])
    if tag > QUEUE_TAG_MAX:
        raise UsageError(f"queue {queue!r} has no tag: all {QUEUE_TAG_MAX} are given")
    tx.send(_SQL["add"], {"tag": tag, "queue": queue})
    return tag
