"""Parents and children: what the end of one job does to those that wait for it.

Race: who writes a child because of a parent holds the parent's row: `enqueue` marks it,
`held_back_by` locks it, and its end changes it. So no end comes between the look and the write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from penstock.core.ids import JobId
from penstock.core.lifecycle import State

from .statements import read_statements
from .transaction import Parameters, Transaction

_SQL: Final = read_statements("family")


def held_back_by(tx: Transaction, child: str) -> tuple[int, int]:
    """Return how many parents hold `child` back, and how many of them have failed."""
    [(held_back, broken)] = tx.rows(_SQL["held_back_by"], {"child": child})
    return int(held_back), int(broken)


def send_count_down(tx: Transaction, parents: Sequence[str] | None) -> Callable[[], None]:
    """Count children of ended parents down; the last parent's end unblocks.

    Args:
        tx: the transaction.
        parents: those that ended otherwise than completed: only children count that ignore it.
            None: those that `settle.sql` completed in this transaction, and all their children.

    Returns:
        What reads which ready sets gained jobs, before COMMIT or after it.
    """
    counted_down = tx.send(_SQL["count_down"], {"parents": parents})

    def read() -> None:
        for queue, need, jobs in counted_down.fetchall():
            tx.fresh[queue, need] += jobs

    return read


def parent_failed(tx: Transaction, parents: Iterable[str]) -> None:
    """Count down or cancel the children of jobs that ended otherwise, as their edges say."""
    # Bound: none but the number of edges below the parents: a job and its blocked descendants end
    # at the same instant, so that nobody sees one wait for a parent that failed. One statement
    # takes them all. docs/explanation/postgres-layout.md tells users.
    todo = list(parents)
    while todo:
        send_count_down(tx, todo)()
        # Race: a child that came in since that look is found in the next round: the parents that it
        # names are locked from here on, and those who come later see how they ended.
        todo = _cancelled(tx, "cancel_below", {"parents": todo})


def cancel_children(tx: Transaction, children: Sequence[str]) -> list[str]:
    """Cancel blocked jobs because a parent failed; return those that have children themselves."""
    return _cancelled(tx, "cancel_children", {"children": list(children)}) if children else []


def _cancelled(tx: Transaction, statement: str, values: Parameters) -> list[str]:
    ended = tx.rows(_SQL[statement], {**values, "now": tx.now})
    for _, queue, _ in ended:
        tx.moved(queue, State.BLOCKED, State.CANCELLED)
    return [child for child, _, has_children in ended if has_children]


def children_of(tx: Transaction, parent: str) -> list[tuple[JobId, bool]]:
    """Return (child, whether its edge ignores failure) of each edge to `parent`."""
    return [(JobId(child), bool(ignores)) for child, ignores in _edges_below(tx, [parent])]


def hold_back(tx: Transaction, child: str) -> None:
    """Let a blocked child wait for one parent more."""
    tx.send(_SQL["hold_back"], {"child": child})


def _edges_below(tx: Transaction, parents: list[str]) -> list[tuple[str, bool]]:
    return [(child, ignores) for child, ignores in tx.rows(_SQL["children"], {"parents": parents})]
