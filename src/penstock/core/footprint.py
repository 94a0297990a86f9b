"""What a task was measured to need, and what is reserved for its next run. Pure.

A footprint is a histogram of peaks in bins of 5 %, for each size of input where the task gives a
hint, in buckets of a quarter octave: within one the input varies by 19 %. A bucket with few runs is
told by the nearest ones (`core/neighbours.py`). The broker keeps it as sums by name and knows
nothing of their meaning, so that workers add to it without reading it.

Old runs fade: a run weighs twice as much as one that is a half-life older. The weight is given to
the newer one, and grows with time since a landmark, so that nothing stored has to change; quantiles
do not depend on the scale. Source: forward decay, Cormode, Shkapenyuk, Srivastava and Xu (2009).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from .neighbours import BIN_STEP, BUCKETS_EACH, ENOUGH, Told, told_of

_MIB: Final = 2**20
#: Milliseconds in which a run loses half of its weight: a month of changing inputs.
HALF_LIFE_MS: Final = 30 * 86_400_000
#: Where weights are 1: 2026-01-01. Bound: a double holds the weights of eighty years.
_LANDMARK_MS: Final = 1_767_225_600_000
#: Share of the runs, by weight, that a reservation is to hold.
_QUANTILE: Final = 0.995
#: On top of that, since the largest run is still to come.
_MARGIN: Final = 1.08
#: Runs below which nothing is reserved by them: one tells little of the next.
SAMPLES_MIN: Final = 3
#: On top of the largest of few runs: `_FEW` or less without a size, fewer than `ENOUGH` with one.
_MARGIN_FEW: Final = 1.25
#: Sums of what runs left in their children: how many, their weight, MiB more and less.
_GROWTH: Final = ("gn", "gw", "gu", "gd")
#: Digits of a bin or bucket; beyond it is no name of ours.
_DIGITS_MAX: Final = 5
#: Runs up to which they are few.
_FEW: Final = 20


class Run(NamedTuple):
    """One measured run.

    Attributes:
        peak_bytes: what it took at most.
        size: the caller's hint of how large its input was; None: no hint.
        at_ms: wall time.
    """

    peak_bytes: int
    size: float | None
    at_ms: int


def size_bucket(size: float | None) -> int | None:
    """Return the bucket of an input's size; None: no hint."""
    if size is None:
        return None
    return 0 if size < 1 else 1 + math.floor(BUCKETS_EACH * math.log2(size) + 1e-9)


def bucket_bounds(bucket: int) -> tuple[float, float]:
    """Return the sizes of a bucket: from the first, up to but without the second."""
    if bucket == 0:
        return 0.0, 1.0
    return 2.0 ** ((bucket - 1) / BUCKETS_EACH), 2.0 ** (bucket / BUCKETS_EACH)


def weight_at(at_ms: int) -> float:
    """Return how much a run of that wall time weighs."""
    return math.exp2((at_ms - _LANDMARK_MS) / HALF_LIFE_MS)


def tally_of(run: Run) -> dict[str, float]:
    """Return what a run adds to its task's footprint, by name."""
    weight = weight_at(run.at_ms)
    place = _bin_of(run.peak_bytes)
    bucket = size_bucket(run.size)
    sums = {"n": 1.0, f"p{place}": weight}
    if bucket is not None:
        sums |= {f"s{bucket}:n": 1.0, f"s{bucket}:p{place}": weight}
    return sums


def tally_of_growth(growth_bytes: int, at_ms: int) -> dict[str, float]:
    """Return what a run adds that left its child larger by so much; negative: smaller.

    What grew and what shrank are two sums, since the broker adds no negative amounts.
    """
    weight = weight_at(at_ms)
    amount = weight * abs(growth_bytes) / _MIB
    return {"gn": 1.0, "gw": weight, "gu" if growth_bytes > 0 else "gd": amount}


class Footprint:
    """The histograms of one task, as read from the broker and added to here."""

    def __init__(self, sums: Mapping[str, float]) -> None:
        """Read the sums; names that another release may have made are left out."""
        self._counts: dict[int | None, float] = {}
        self._bins: dict[int | None, dict[int, float]] = {}
        self._growth: dict[str, float] = {}
        self._reservations: dict[int | None, int | None] = {}
        self.add(sums)

    def add(self, sums: Mapping[str, float]) -> None:
        """Take in what a run adds."""
        self._reservations.clear()
        for name, amount in sums.items():
            head, _, tail = name.rpartition(":")
            bucket = _number(head, "s") if head else None
            place = _number(tail, "p")
            if (head and bucket is None) or not math.isfinite(amount):
                continue
            if name in _GROWTH:
                self._growth[name] = self._growth.get(name, 0.0) + amount
            elif tail == "n":
                self._counts[bucket] = self._counts.get(bucket, 0.0) + amount
            elif place is not None:
                bins = self._bins.setdefault(bucket, {})
                bins[place] = bins.get(place, 0.0) + amount

    @property
    def buckets(self) -> list[int]:
        """The buckets of sizes in which there were runs."""
        return sorted(one for one in self._counts if one is not None)

    def runs(self, bucket: int | None = None) -> int:
        """Return how many runs it holds, of one bucket or of all."""
        return round(self._counts.get(bucket, 0.0))

    @property
    def leak_bytes(self) -> int | None:
        """What a run leaves in its child, as the mean of warm runs; None: too few to tell.

        Near 0 in a task that leaks nothing: what one run leaves, the next one uses again.
        """
        runs, weight, up, down = (self._growth.get(name, 0.0) for name in _GROWTH)
        if runs < SAMPLES_MIN or weight <= 0.0:
            return None
        return round((up - down) / weight * _MIB)

    def quantile_bytes(self, share: float, bucket: int | None = None) -> int | None:
        """Return the peak that this share of the runs did not pass; None: there were none."""
        bins = self._bins.get(bucket)
        place = None if not bins else _quantile(share, sorted(bins.items()))
        return None if place is None else _upper_bytes(place)

    def reservation_bytes(self, bucket: int | None = None) -> int | None:
        """Return what to set aside for the next run; None: there are too few to tell.

        Of a size with few runs those of the nearest sizes tell (`core/neighbours.py`).

        Cost: 0.2 us; some 30 us the first time after `add`.
        """
        if bucket not in self._reservations:
            known = self._of_all() if bucket is None else self._of(bucket)
            self._reservations[bucket] = known
        return self._reservations[bucket]

    def telling(self, bucket: int | None = None) -> int:
        """Return of how many runs a reservation is made, those of the nearest sizes too."""
        return self.runs() if bucket is None else self._told(bucket).runs

    def _of_all(self) -> int | None:
        runs, bins = self.runs(), self._bins.get(None, {})
        if runs < SAMPLES_MIN or not bins:
            return None
        is_few = runs <= _FEW
        peak = _upper_bytes(_quantile(1.0 if is_few else _QUANTILE, sorted(bins.items())))
        return round(peak * (_MARGIN_FEW if is_few else _MARGIN))

    def _of(self, bucket: int) -> int | None:
        peaks, count = self._told(bucket)
        if count < SAMPLES_MIN:
            return None
        margin = _MARGIN_FEW if count < ENOUGH else _MARGIN
        return round(_upper_bytes(_quantile(_QUANTILE, peaks)) * margin)

    def _told(self, bucket: int) -> Told:
        runs = {one: self.runs(one) for one in self.buckets if self.runs(one) and one in self._bins}
        return told_of(bucket, {one: self._bins[one] for one in runs}, runs)


def _quantile(share: float, peaks: Sequence[tuple[float, float]]) -> float:
    """Return the bin that so much of the weight does not pass; there is one at least."""
    left = share * sum(weight for _, weight in peaks)
    for place, weight in peaks:
        left -= weight
        if left <= 1e-9 * weight:
            return place
    return peaks[-1][0]


def _bin_of(size_bytes: int) -> int:
    if size_bytes <= _MIB:
        return 0
    return math.ceil(math.log(size_bytes / _MIB, BIN_STEP) - 1e-9)


def _upper_bytes(place: float) -> int:
    return math.ceil(_MIB * math.pow(BIN_STEP, place))


def _number(text: str, letter: str) -> int | None:
    digits = text.removeprefix(letter)
    is_number = digits != text and digits.isdecimal() and len(digits) <= _DIGITS_MAX
    return int(digits) if is_number else None
