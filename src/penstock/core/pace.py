"""How long a task's runs last and whether they hold the CPU, and what follows for its slots. Pure.

A pace is a histogram of run times in bins of 10 %, with the processor time beside it. It lies in
the same sums as the task's footprint (`core.footprint`), under names of its own, and fades like it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from penstock.core.footprint import SAMPLES_MIN, weight_at

#: Names of a pace's sums begin with this; none of a footprint's does.
_HEAD: Final = "r:"
#: Ratio of neighbouring bins of run times; the first ends at a millisecond.
_BIN_STEP: Final = 1.1
#: Digits of a bin; beyond it is no name of ours.
_DIGITS_MAX: Final = 4
#: Share of the runs, by weight, that count for what a task is like (design.md §7).
LIGHT_PART: Final = 0.95
#: Runs after which those before them are of the past; and how many of the last must have been long
#: for a light task to be light no more: as many as it takes to know a new one.
_LATEST: Final = 20
_TURNED: Final = SAMPLES_MIN
#: Share of a run that is processor time, from which on it holds the CPU (design.md §7).
_HOLDS_PART: Final = 0.5


class Kind(StrEnum):
    """What a plain function's jobs are like."""

    UNKNOWN = "unknown"
    """Too few were measured."""
    LIGHT = "light"
    """Short: they may use the slots of the light lane."""
    LONG = "long"
    """They wait for most of their time."""
    BUSY = "busy"
    """They hold the CPU, and run in children, where they hold it for nobody else."""


def pace_sums(
    run_ms: float, cpu_ms: float | None, *, side_by_side: int, at_ms: int
) -> dict[str, float]:
    """Return what a run adds to its task's sums, by name.

    Args:
        run_ms: how long it lasted.
        cpu_ms: processor time that it used or waited for; None: that is not known.
        side_by_side: jobs that ran in the same interpreter, itself included: where all hold the
            CPU each gets that part of it, and lasts so much longer.
        at_ms: wall time.
    """
    weight = weight_at(at_ms)
    sums = {f"{_HEAD}n": 1.0, f"{_HEAD}t{_bin_of(run_ms)}": weight}
    if cpu_ms is not None:
        alone_ms = min(run_ms, cpu_ms * side_by_side)
        sums |= {f"{_HEAD}w": weight * run_ms, f"{_HEAD}c": weight * alone_ms}
    return sums


def tells_pace(run_ms: float, light_ms: float, *, went_well: bool) -> bool:
    """Return whether a run tells how long its task's runs last.

    One that failed, or was ended, would have lasted longer, nobody knows how much: it can tell that
    a task is long, and never that it is light. An hour in which every run fails at once must not
    open the light lane to a task whose runs last for minutes.

    Args:
        run_ms: how long it lasted.
        light_ms: how long runs of a light task last at most.
        went_well: it came to its own end.
    """
    return went_well or run_ms > light_ms


class Pace:
    """The run times of one task, as read from the broker and added to here."""

    def __init__(self, sums: Mapping[str, float]) -> None:
        """Read the sums; all that are no pace's are left out."""
        self._bins: dict[int, float] = {}
        self._count = self._run = self._cpu = 0.0
        self.add(sums)

    def add(self, sums: Mapping[str, float]) -> None:
        """Take in what a run adds."""
        for name, amount in sums.items():
            if not name.startswith(_HEAD) or not math.isfinite(amount):
                continue
            match name[len(_HEAD) :]:
                case "n":
                    self._count += amount
                case "w":
                    self._run += amount
                case "c":
                    self._cpu += amount
                case tail if (place := _place(tail)) is not None:
                    self._bins[place] = self._bins.get(place, 0.0) + amount

    @property
    def runs(self) -> int:
        """How many runs it holds."""
        return round(self._count)

    @property
    def cpu_part(self) -> float:
        """Share of the run time that was processor time, from 0 to 1."""
        return min(1.0, self._cpu / self._run) if self._run > 0 else 0.0

    def quantile_ms(self, share: float) -> float | None:
        """Return how long this share of the runs did not pass; None: there were none."""
        if not self._bins:
            return None
        left = share * sum(self._bins.values())
        for place in sorted(self._bins):
            left -= self._bins[place]
            if left <= 1e-9 * self._bins[place]:
                return _upper_ms(place)
        return _upper_ms(max(self._bins))

    def runs_over(self, light_ms: float) -> int:
        """Return how many runs lasted longer."""
        total = sum(self._bins.values())
        over = sum(part for place, part in self._bins.items() if _upper_ms(place) > light_ms)
        return round(self._count * over / total) if total > 0 else 0

    def kind(self, light_ms: float) -> Kind:
        """Return what the task's jobs are like.

        Args:
            light_ms: how long those of a light task last at most.
        """
        lasts_ms = self.quantile_ms(LIGHT_PART)
        if self.runs < SAMPLES_MIN or lasts_ms is None:
            return Kind.UNKNOWN
        return Kind.LIGHT if lasts_ms <= light_ms else self.heavy_kind

    @property
    def heavy_kind(self) -> Kind:
        """What they are like if they are not light."""
        return Kind.BUSY if self.cpu_part > _HOLDS_PART else Kind.LONG


class Latest:
    """The last runs of a task in one worker: up to twice `_LATEST`, or two tellings of more.

    Of all runs of a month one in twenty must have changed before their histogram tells: a task that
    turns heavy overnight would hold the lane until then.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._now: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def add(self, sums: Mapping[str, float]) -> None:
        """Take in what runs add; those of long ago are forgotten."""
        if Pace(self._now).runs >= _LATEST:
            self._before, self._now = self._now, {}
        for name, amount in sums.items():
            self._now[name] = self._now.get(name, 0.0) + amount

    def kind(self, known: Kind, light_ms: float) -> Kind:
        """Return what the task's jobs are like; `known` tells it of all runs.

        It never makes a task lighter: one job in twenty may be heavy, and not among the last.
        """
        if known is not Kind.LIGHT:
            return known
        latest = Pace(self._now)
        latest.add(self._before)
        turned = max(_TURNED, (1 - LIGHT_PART) * latest.runs)
        return latest.heavy_kind if latest.runs_over(light_ms) >= turned else known


def _bin_of(run_ms: float) -> int:
    return 0 if run_ms <= 1.0 else math.ceil(math.log(run_ms, _BIN_STEP) - 1e-9)


def _upper_ms(place: int) -> float:
    return _BIN_STEP**place


def _place(tail: str) -> int | None:
    digits = tail.removeprefix("t")
    is_place = digits != tail and digits.isdecimal() and len(digits) <= _DIGITS_MAX
    return int(digits) if is_place else None
