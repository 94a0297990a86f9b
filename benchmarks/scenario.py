"""What a scenario is: who is measured, how, on what, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contestants import Contestant
from benchmarks.report import Bar, Figure

#: One measurement of one contestant in one round: figure -> value; empty where it has none.
Measure = Callable[[Contestant], dict[str, float]]


@dataclass(frozen=True)
class Scenario:
    """One page of figures.

    Attributes:
        title: heading of the page.
        notes: paragraph under it.
        everybody: who takes part, Penstock first.
        measures: name -> measurement.
        once: measures that do not vary, taken in the first round alone.
        long: measures that run with `--long` alone.
        tables: heading -> the figures of one table.
        figures: name -> how it is written.
        bars: what is promised.
        by_contestant: one row for each contestant, else one for each figure.
    """

    title: str
    notes: str
    everybody: Callable[[], list[Contestant]]
    measures: dict[str, Measure]
    figures: dict[str, Figure]
    tables: dict[str, tuple[str, ...]]
    bars: tuple[Bar, ...]
    once: frozenset[str] = frozenset()
    long: frozenset[str] = frozenset()
    by_contestant: bool = True
