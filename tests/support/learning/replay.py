"""Plays runs to a footprint in their order, and counts what it would have reserved for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from penstock.core.footprint import Footprint, Run, size_bucket, tally_of
from penstock.core.memory import COLD_BYTES
from tests.support.learning.trace import Recorded

#: Runs at the start of a task that do not count: there was nothing to learn from.
FIRST: Final = 20
#: Wall time at which a replay begins; runs within a day weigh the same but for 2 %.
_BEGIN_MS: Final = 1_790_000_000_000


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How well reservations held the runs of one task.

    Attributes:
        runs: that were counted.
        covered: of them, those whose peak was within the reservation.
        waste: bytes reserved x run time over bytes of the peak x run time.
        fixed_waste: the same of the least fixed reservation that covers 99 in 100 of them, chosen
            in hindsight.
    """

    task: str
    runs: int
    covered: int
    waste: float
    fixed_waste: float

    @property
    def coverage(self) -> float:
        """Share of the runs within their reservation."""
        return self.covered / self.runs


def score(task: str, runs: Sequence[Recorded], *, hinted: bool = True) -> Score:
    """Play one task's runs.

    Args:
        task: its name.
        runs: of it, in their order; more than `FIRST`.
        hinted: whether the sizes are told.
    """
    known = Footprint({})
    counted: list[tuple[Recorded, int]] = []
    for number, one in enumerate(runs):
        size = one.size if hinted else None
        reserved = known.reservation_bytes(size_bucket(size)) or COLD_BYTES
        if number >= FIRST:
            counted.append((one, reserved))
        known.add(tally_of(Run(one.peak_bytes, size, _BEGIN_MS + one.at_ms)))
    taken = sum(one.peak_bytes * one.run_ms for one, _ in counted)
    peaks = sorted(one.peak_bytes for one, _ in counted)
    fixed = peaks[-1 - len(peaks) // 100]
    return Score(
        task=task,
        runs=len(counted),
        covered=sum(one.peak_bytes <= reserved for one, reserved in counted),
        waste=sum(reserved * one.run_ms for one, reserved in counted) / taken,
        fixed_waste=sum(fixed * one.run_ms for one, _ in counted) / taken,
    )


def by_task(runs: Iterable[Recorded]) -> dict[str, list[Recorded]]:
    """Return the runs of each task, in their order."""
    found: dict[str, list[Recorded]] = {}
    for one in runs:
        found.setdefault(one.task, []).append(one)
    return found
