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
    """How well reservations held runs. Memory is counted by the time for which it is held.

    Attributes:
        runs: that were counted.
        covered: of them, those whose peak was within the reservation.
        taken: bytes of the peaks x milliseconds.
        reserved: bytes of the reservations x milliseconds.
        fixed: the same for one reservation for all, the least that covers 99 in 100: chosen in
            hindsight, as nobody can.
    """

    runs: int
    covered: int
    taken: float
    reserved: float
    fixed: float

    @property
    def coverage(self) -> float:
        """Share of the runs within their reservation."""
        return self.covered / self.runs

    @property
    def waste(self) -> float:
        """What was reserved, in parts of what was taken."""
        return self.reserved / self.taken

    @property
    def fixed_waste(self) -> float:
        """The same of the reservation in hindsight."""
        return self.fixed / self.taken


def score(runs: Sequence[Recorded], *, hinted: bool = True) -> Score:
    """Play the runs of one task.

    Args:
        runs: in their order; more than `FIRST`.
        hinted: whether the sizes are told.
    """
    known = Footprint({})
    reserved: list[int] = []
    for one in runs:
        size = one.size if hinted else None
        reserved.append(known.reservation_bytes(size_bucket(size)) or COLD_BYTES)
        known.add(tally_of(Run(one.peak_bytes, size, _BEGIN_MS + one.at_ms)))
    counted, given = runs[FIRST:], reserved[FIRST:]
    peaks = sorted(one.peak_bytes for one in counted)
    fixed = peaks[-1 - len(peaks) // 100]
    return Score(
        runs=len(counted),
        covered=sum(one.peak_bytes <= has for one, has in zip(counted, given, strict=True)),
        taken=sum(one.peak_bytes * one.run_ms for one in counted),
        reserved=sum(has * one.run_ms for one, has in zip(counted, given, strict=True)),
        fixed=sum(fixed * one.run_ms for one in counted),
    )


def together(scores: Iterable[Score]) -> Score:
    """Return the score of several tasks, or of several series of one."""
    every = list(scores)
    return Score(
        runs=sum(one.runs for one in every),
        covered=sum(one.covered for one in every),
        taken=sum(one.taken for one in every),
        reserved=sum(one.reserved for one in every),
        fixed=sum(one.fixed for one in every),
    )


def by_task(runs: Iterable[Recorded]) -> dict[str, list[Recorded]]:
    """Return the runs of each task, in their order."""
    found: dict[str, list[Recorded]] = {}
    for one in runs:
        found.setdefault(one.task, []).append(one)
    return found
