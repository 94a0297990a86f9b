"""What runs of other sizes tell of one size: their peaks, carried over by how the task grows. Pure.

Sizes lie in buckets and peaks in bins, both on logarithmic scales: where a peak grows with a power
of the size, the same number of bins lies between any two neighbouring buckets. That number is
estimated near the size that is asked for, so that it may differ elsewhere: the interpreter counts
little beside a large input, and is nearly all beside a small one.

Source: the median of the slopes between points, which one bad point does not tilt, is Theil's
(1950) and Sen's (1968).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

#: Ratio of neighbouring bins of peaks.
BIN_STEP: Final = 1.05
#: Buckets of sizes in each doubling.
BUCKETS_EACH: Final = 4
#: Bins between two neighbouring buckets where the peak grows in proportion to the size.
_IN_PROPORTION: Final = math.log(2.0, BIN_STEP) / BUCKETS_EACH
#: Runs that tell of a size: with more, farther ones would be among them, of which the growth may be
#: another one; with fewer, the next run is above all of them more often than one time in twenty.
_POOL: Final = 20
#: Runs that tell enough where the next ones are an octave farther away.
ENOUGH: Final = 8
#: What is taken for granted before anything is known of the growth weighs as much as two runs that
#: lie an octave apart.
_PRIOR_WEIGHT: Final = float(BUCKETS_EACH**2)

Bins = Mapping[int, float]
"""Weights of the runs by bin of their peak."""


class Told(NamedTuple):
    """What runs tell of a size.

    Attributes:
        peaks: bins, carried over to that size, and their weights; the smallest first.
        runs: how many they are.
    """

    peaks: list[tuple[float, float]]
    runs: int


def told_of(bucket: int, bins: Mapping[int, Bins], runs: Mapping[int, int]) -> Told:
    """Return what the nearest runs tell of a bucket; its own come first, and may be all.

    From a smaller input a peak is taken to grow in proportion, and from a larger one to be as it
    is, as long as nothing is known of the growth: neither is too little.

    Args:
        bucket: asked for.
        bins: of each bucket that had runs.
        runs: how many it had.

    Cost: some 30 us.
    """
    near = _nearest(bucket, runs)
    slopes = list(_slopes(near, bins, runs))
    up = _median([*slopes, (1.0, _PRIOR_WEIGHT)])
    down = _median([*slopes, (0.0, _PRIOR_WEIGHT)])
    inside = min(max(bucket, min(runs, default=bucket)), max(runs, default=bucket))
    beyond = _beyond(up, bucket - inside)
    peaks: list[tuple[float, float]] = []
    for one in near:
        power = up if inside > one else down
        shift = power * (inside - one) * _IN_PROPORTION + beyond
        peaks += [(place + shift, weight) for place, weight in bins[one].items()]
    return Told(sorted(peaks), sum(runs[one] for one in near))


def _nearest(bucket: int, runs: Mapping[int, int]) -> list[int]:
    """Return the buckets whose runs tell of one; of two that are equally far, both."""
    near: list[int] = []
    count = 0
    for one in sorted(runs, key=lambda other: abs(other - bucket)):
        far = abs(one - bucket)
        if near and far != abs(near[-1] - bucket):
            octave_on = abs(near[0] - bucket) + BUCKETS_EACH
            if count >= _POOL or (count >= ENOUGH and far > octave_on):
                break
        near.append(one)
        count += runs[one]
    return near


def _slopes(
    near: Sequence[int], bins: Mapping[int, Bins], runs: Mapping[int, int]
) -> Iterator[tuple[float, float]]:
    """Yield how the peak grows between each two buckets: the power of the size, and a weight.

    The weight is what a line fitted by least squares gives to the two.
    """
    total = sum(runs[one] for one in near)
    middles = {one: _median(list(bins[one].items())) for one in near}
    for place, one in enumerate(near):
        for other in near[:place]:
            apart = one - other
            slope = (middles[one] - middles[other]) / apart / _IN_PROPORTION
            # Less for a larger input is chance, or says that the size tells nothing.
            yield max(0.0, slope), runs[one] * runs[other] * apart**2 / total


def _beyond(power: float, distance: int) -> float:
    """Return by how many bins a peak grows over so many buckets outside all that ran."""
    if distance <= 0:
        # What an interpreter takes is the same for the smallest input.
        return 0.0
    if power >= 1.0:
        return power * distance * _IN_PROPORTION
    # The power itself may grow, up to proportion: what the interpreter takes counts less and less.
    # A line does that.
    ratio = math.exp2(distance / BUCKETS_EACH)
    return math.log(1.0 + power * (ratio - 1.0), BIN_STEP)


def _median(weighted: Sequence[tuple[float, float]]) -> float:
    """Return the value that half of the weight does not pass."""
    left = sum(weight for _, weight in weighted) / 2
    ordered = sorted(weighted)
    for value, weight in ordered:
        left -= weight
        if left <= 0.0:
            return value
    return ordered[-1][0]
