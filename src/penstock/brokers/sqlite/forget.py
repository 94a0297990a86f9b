"""What it takes to forget a final job, for `prune` and `delete` alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.core.lifecycle import State

from .family import cancel_children, children_of, held_back_by, parent_failed
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("forget")


class Ended(NamedTuple):
    """A final job that is to be forgotten."""

    id: str
    state: str
    queue: int
    has_children: int


def forget(tx: Transaction, jobs: Sequence[Ended]) -> None:
    """Forget final jobs and all that belongs to them.

    A key stays taken until its window ends, and says how its job ended. A child that still waits
    for a failed parent to be requeued is cancelled for good.
    """
    for job in jobs:
        if job.has_children:
            _cancel_waiting(tx, job.id)
    ids = [(job.id,) for job in jobs]
    tx.each(_SQL["remember_end"], [(job.id, job.state) for job in jobs])
    for part in ("attempts", "usages", "note", "log", "edges", "long_spec"):
        tx.each(_SQL[f"forget_{part}"], ids)
    tx.each(_SQL["forget"], ids)
    for job in jobs:
        tx.moved(job.queue, State(job.state), None)


def _cancel_waiting(tx: Transaction, job_id: str) -> None:
    children = [child for child, _ in children_of(tx, job_id)]
    broken = [child for child in children if held_back_by(tx, child)[1] > 0]
    parent_failed(tx, cancel_children(tx, broken))
