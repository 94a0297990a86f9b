"""What a planner that knows every peak and every run time would have packed. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """One heavy job: what it took, and for how long."""

    mib: int
    run_s: float


def planned_s(pieces: Sequence[Piece], *, budget_mib: int, slots: int) -> float:
    """Return how long a list scheduler needs that starts the largest job which fits.

    Largest first is the usual heuristic for packing; no schedule can be shorter than the larger of
    the two bounds by memory and by slots, which this one is rarely far from.
    """
    waiting = sorted(pieces, key=lambda one: (-one.mib, -one.run_s))
    ends: list[tuple[float, int]] = []
    now_s, free = 0.0, budget_mib
    while waiting or ends:
        while waiting and len(ends) < slots:
            fitting = next((one for one in waiting if one.mib <= free), None)
            if fitting is None:
                break
            waiting.remove(fitting)
            free -= fitting.mib
            heapq.heappush(ends, (now_s + fitting.run_s, fitting.mib))
        if not ends:
            raise ValueError("a job is larger than the budget")
        now_s, mib = heapq.heappop(ends)
        free += mib
    return now_s
