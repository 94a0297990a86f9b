"""Parents and children: what the end of one job does to those that wait for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from penstock.core.ids import JobId
from penstock.core.lifecycle import State

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("family")


def held_back_by(tx: Transaction, child: str) -> tuple[int, int]:
    """Return how many parents hold `child` back, and how many of them have failed."""
    [(held_back, broken)] = tx.rows(_SQL["held_back_by"], (child,))
    return int(held_back), int(broken)


def parent_completed(tx: Transaction, parents: Iterable[str]) -> None:
    """Count the children of completed jobs down; the last parent's completion unblocks."""
    children = [child for parent in parents for child, _ in tx.rows(_SQL["children"], (parent,))]
    _count_down(tx, children)


def parent_failed(tx: Transaction, parents: Iterable[str]) -> None:
    """Count down or cancel the children of jobs that ended otherwise, as their edges say."""
    # Bound: none but the number of edges below the parents: a job and its blocked descendants end
    # at the same instant, so that nobody sees one wait for a parent that failed. Each edge is taken
    # once, and other writers wait meanwhile. docs/explanation/sqlite-layout.md tells users.
    todo = list(parents)
    while todo:
        edges = tx.rows(_SQL["children"], (todo.pop(),))
        _count_down(tx, [child for child, ignores in edges if ignores])
        todo += cancel_children(tx, [child for child, ignores in edges if not ignores])


def cancel_children(tx: Transaction, children: Iterable[str]) -> list[str]:
    """Cancel blocked jobs because a parent failed; return those that have children themselves."""
    ended = tx.each(_SQL["cancel_child"], [(child, tx.now) for child in children])
    for _, queue, _ in ended:
        tx.moved(queue, State.BLOCKED, State.CANCELLED)
    return [child for child, _, has_children in ended if has_children]


def children_of(tx: Transaction, parent: str) -> list[tuple[JobId, bool]]:
    """Return (child, whether its edge ignores failure) of each edge to `parent`."""
    return [
        (JobId(child), bool(ignores)) for child, ignores in tx.rows(_SQL["children"], (parent,))
    ]


def hold_back(tx: Transaction, child: str) -> None:
    """Let a blocked child wait for one parent more."""
    tx.rows(_SQL["hold_back"], (child,))


def _count_down(tx: Transaction, children: list[str]) -> None:
    moved = tx.each(_SQL["count_down"], [(child, tx.now) for child in children])
    for queue, state, need in moved:
        tx.moved(queue, State.BLOCKED, State(state))
        if state == State.QUEUED:
            tx.fresh[queue, need] += 1
