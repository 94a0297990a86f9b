"""Made-up runs: what a peak may follow from, each alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Final

from tests.support.learning.trace import Recorded

_MIB: Final = 2**20
#: What an interpreter takes before it does anything.
_BASE: Final = 40 * _MIB
#: Milliseconds between two runs.
_EACH_MS: Final = 60_000

Shape = Callable[[Random], tuple[float | None, float]]
"""Draws (size, bytes at the peak) of one run; its docstring says what follows from what."""


def linear(chance: Random) -> tuple[float, float]:
    """In proportion to a log-normal size, on top of the interpreter; off by 8 %."""
    size = chance.lognormvariate(10, 1.0)
    return size, _BASE + size * 20_000 * chance.uniform(0.92, 1.08)


def uniform(chance: Random) -> tuple[float, float]:
    """In proportion to a size that is anything within five times; off by 5 %."""
    size = chance.uniform(5e4, 25e4)
    return size, size * 10_000 * chance.uniform(0.95, 1.05)


def square(chance: Random) -> tuple[float, float]:
    """With the square of the size; off by 5 %."""
    size = chance.lognormvariate(math.log(4_000), 0.6)
    return size, _BASE + size * size * 16 * chance.uniform(0.95, 1.05)


def root(chance: Random) -> tuple[float, float]:
    """With the root of the size; off by 5 %."""
    size = chance.lognormvariate(math.log(1e6), 1.5)
    return size, _BASE + math.sqrt(size) * 0.3 * _MIB * chance.uniform(0.95, 1.05)


def steps(chance: Random) -> tuple[float, float]:
    """A table that is doubled when it is two thirds full, and the old one is still there."""
    size = chance.lognormvariate(math.log(1e6), 1.0)
    return size, _BASE + size * 40 + 1.5 * 2 ** math.ceil(math.log2(size * 1.5)) * 24


def constant(chance: Random) -> tuple[float, float]:
    """The size says nothing: a buffer of a fixed size; off by 3 %."""
    return chance.lognormvariate(12, 2.0), 200 * _MIB * chance.uniform(0.97, 1.03)


def outliers(chance: Random) -> tuple[float, float]:
    """As `linear`, and one run in 250 takes eight times as much."""
    size, peak = linear(chance)
    return size, peak * (8 if chance.random() < 1 / 250 else 1)


def two_kinds(chance: Random) -> tuple[float, float]:
    """As `linear`, and one run in ten takes three times as much."""
    size, peak = linear(chance)
    return size, peak * (3 if chance.random() < 0.1 else 1)


def loose(chance: Random) -> tuple[float, float]:
    """As `linear`, and what is in the input matters as much as its size: off by half."""
    size = chance.lognormvariate(10, 1.0)
    return size, _BASE + size * 20_000 * chance.uniform(0.5, 1.5)


def no_size(chance: Random) -> tuple[None, float]:
    """Log-normal, without a size."""
    return None, _BASE + chance.lognormvariate(math.log(200), 0.7) * _MIB


def no_size_two_kinds(chance: Random) -> tuple[None, float]:
    """One run in ten takes fifteen times as much, without a size."""
    return None, (1_500 if chance.random() < 0.1 else 100) * _MIB * chance.uniform(0.95, 1.05)


#: Those whose peak follows from their size, within a few hundredths.
TOLD: Final[tuple[Shape, ...]] = (linear, uniform, square, root, steps, constant)
#: The others.
UNTOLD: Final[tuple[Shape, ...]] = (loose, outliers, two_kinds, no_size, no_size_two_kinds)


def runs_of(shape: Shape, *, seed: int, count: int = 600) -> list[Recorded]:
    """Return so many runs of a shape; each lasts the longer the more it takes."""
    chance = Random(seed)
    made = []
    for number in range(count):
        size, peak = shape(chance)
        run_ms = 200 + round(peak / _MIB)
        made.append(
            Recorded(shape.__name__, size, round(peak), run_ms, number * _EACH_MS, "made up")
        )
    return made
