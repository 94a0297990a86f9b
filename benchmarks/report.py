"""Turns samples into verdicts and tables: medians with their spread, and ratios within the run."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

#: Name and variant of a contestant.
Key = tuple[str, str]
#: Figure -> contestant -> its samples.
Groups = dict[str, dict[Key, list[float]]]


@dataclass(frozen=True)
class Figure:
    """How one figure is written, and which way is better."""

    title: str
    unit: str
    digits: int
    less_is_better: bool = False


@dataclass(frozen=True)
class Bar:
    """One promise, or one aim.

    Attributes:
        figure: what is compared, as a median over the rounds.
        wording: how it stands to the bound.
        bound: a factor where there are rivals or an own figure, else in the figure's unit.
        ours: whose figure.
        rivals: which contestants; the best of them is compared with. None: no other.
        whom: the rivals in words.
        of: own figure to compare with instead.
        is_aim: to be reached for; a run that misses it does not fail.
    """

    figure: str
    wording: Literal["at least", "at most", "under"]
    bound: float
    ours: Key = ("penstock", "tuned")
    rivals: Callable[[Key], bool] | None = None
    whom: str = ""
    of: str | None = None
    is_aim: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of a promise; `value` and `held` are None where something was not measured."""

    promise: str
    measured: str
    value: float | None
    held: bool | None
    is_aim: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether a promise, and not just an aim, was missed."""
        return self.held is False and not self.is_aim


def grouped(samples: list[dict[str, Any]]) -> Groups:
    """Return the samples by figure and contestant."""
    groups: Groups = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        groups[sample["figure"]][sample["name"], sample["variant"]].append(sample["value"])
    return {figure: dict(of) for figure, of in groups.items()}


def best(groups: Groups, figure: str, how: Figure, among: Callable[[Key], bool]) -> Key | None:
    """Return whose median is best among these contestants; None: nobody was measured."""
    medians = {
        key: statistics.median(values)
        for key, values in groups.get(figure, {}).items()
        if among(key)
    }
    if not medians:
        return None
    return (min if how.less_is_better else max)(medians, key=lambda key: medians[key])


def verdict(groups: Groups, figures: dict[str, Figure], bar: Bar) -> Verdict:
    """Hold the medians of a run against one promise."""
    how = figures[bar.figure]
    against = f"x {bar.whom}" if bar.rivals or bar.of else how.unit
    variant = "" if bar.ours[1] == "tuned" else f" ({bar.ours[1]})"
    kind = "aim, " if bar.is_aim else ""
    promise = f"{kind}{how.title}{variant}: {bar.wording} {bar.bound:g} {against}"
    mine = groups.get(bar.figure, {}).get(bar.ours)
    if not mine:
        return Verdict(promise, "not measured in this run", None, None, bar.is_aim)
    value, unit, digits = statistics.median(mine), how.unit, how.digits
    if bar.rivals or bar.of:
        name, other = _other(groups, how, bar)
        if not other:
            return Verdict(promise, "nobody to compare with in this run", None, None, bar.is_aim)
        value, unit, digits = value / statistics.median(other), f"x {name}", 2
    held = {
        "at least": value >= bar.bound,
        "at most": value <= bar.bound,
        "under": value < bar.bound,
    }[bar.wording]
    return Verdict(promise, f"{value:,.{digits}f} {unit}", value, held, bar.is_aim)


def _other(groups: Groups, how: Figure, bar: Bar) -> tuple[str, list[float]]:
    """Return what a bar compares with: a name, and its samples or none."""
    if bar.of is not None:
        return bar.whom, groups.get(bar.of, {}).get(bar.ours, [])
    key = best(groups, bar.figure, how, bar.rivals or (lambda _: False))
    if key is None:
        return "", []
    variant = "" if key[1] == "tuned" else f" {key[1]}"
    return key[0] + variant, groups[bar.figure][key]


def cell(values: list[float] | None, digits: int) -> str:
    """Return median and range of the samples of one figure of one contestant."""
    if not values:
        return ""
    low, middle, high = min(values), statistics.median(values), max(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def table(
    groups: Groups, figures: dict[str, Figure], who: list[Key], *, by_contestant: bool
) -> list[str]:
    """Return one table: contestants by figures, or figures by contestants."""
    heads = [f"{how.title}, {how.unit}" for how in figures.values()]
    names = [f"{name} {variant}" for name, variant in who]
    cells = [
        [cell(groups.get(figure, {}).get(key), how.digits) for figure, how in figures.items()]
        for key in who
    ]
    if by_contestant:
        corner, top, side = "contestant", heads, names
    else:
        corner, top, side = "figure", names, heads
        cells = [list(row) for row in zip(*cells, strict=True)]
    rows = [
        f"| {title} | " + " | ".join(row) + " |"
        for title, row in zip(side, cells, strict=True)
        if any(row)
    ]
    return [f"| {corner} | " + " | ".join(top) + " |", "|---" * (len(top) + 1) + "|", *rows]


def promises(verdicts: list[Verdict]) -> list[str]:
    """Return the table of what was promised and whether it held."""
    words = {True: "yes", False: "**no**", None: ""}
    rows = [
        f"| {one.promise} | {one.measured} | "
        f"{'not reached' if one.is_aim and one.held is False else words[one.held]} |"
        for one in verdicts
    ]
    return ["| promised | measured | held |", "|---|---|---|", *rows]


def failures(document: dict[str, Any]) -> list[str]:
    """Return a list of what failed, once for each contestant and measure, with its last words."""
    found: dict[tuple[str, str, str], tuple[int, str]] = {}
    for one in document["failures"]:
        key = (one["name"], one["variant"], one["measure"])
        count, _ = found.get(key, (0, ""))
        found[key] = (count + 1, one["message"])
    return [
        f"- {name} {variant}, {measure}, {count} time{'s' if count > 1 else ''}: {message[:400]}"
        for (name, variant, measure), (count, message) in found.items()
    ]


def brief(message: str) -> str:
    """Return the ends of a long message: what failed, and the innermost error."""
    lines = [line.strip() for line in message.strip().splitlines()] or [""]
    return " ... ".join(dict.fromkeys((lines[0], lines[-1])))[:400]
