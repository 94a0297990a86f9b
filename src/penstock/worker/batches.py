"""What goes into one call on the broker: so much of what waits, and each job once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from penstock.broker.requests import BATCH_MAX
from penstock.core.ids import JobId

E = TypeVar("E")


def split_batch(ended: Sequence[E], job_of: Callable[[E], JobId]) -> tuple[list[E], list[E]]:
    """Return what one call may carry of what has ended, and the rest, both in order.

    A job can be there twice: lost here, claimed here again, and both attempts have ended.
    """
    if not ended:
        return [], []
    first: dict[JobId, E] = {}
    rest: list[E] = []
    for one in ended:
        job = job_of(one)
        if len(first) < BATCH_MAX and job not in first:
            first[job] = one
        else:
            rest.append(one)
    return list(first.values()), rest
