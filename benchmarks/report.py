"""Turns samples into tables: medians with their spread, and ratios within the run."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

#: Figure -> (title, unit, digits, whether more is better).
FIGURES = {
    "drain_per_s": ("drain, results stored", "jobs/s", 0),
    "worker_cpu_us": ("worker CPU per job", "us", 0),
    "enqueue_per_s": ("enqueue, one call each", "jobs/s", 0),
    "bulk_per_s": ("bulk enqueue", "jobs/s", 0),
    "pick_up_p50_ms": ("pick-up on an idle queue, p50", "ms", 2),
    "pick_up_p99_ms": ("pick-up on an idle queue, p99", "ms", 2),
    "first_enqueue_s": ("fresh process to first accepted enqueue", "s", 3),
    "pss_mib": ("PSS of the worker after 100 jobs", "MiB", 1),
    "pss_100k_delayed_mib": ("the same with 100,000 delayed jobs", "MiB", 1),
}

#: (figure, ours, theirs, wording, bound): what the project promises of this run.
BARS = [
    ("drain_per_s", ("penstock", "fsync"), ("huey", "fsync"), "at least", 6.0),
    ("drain_per_s", ("penstock", "local"), ("huey", "local"), "at least", 6.0),
    ("enqueue_per_s", ("penstock", "local"), ("taskito", "local"), "at least", 1.0),
    ("bulk_per_s", ("penstock", "local"), ("taskito", "local"), "at least", 1.0),
    ("pick_up_p50_ms", ("penstock", "local"), None, "under", 3.0),
    ("pick_up_p99_ms", ("penstock", "local"), None, "under", 10.0),
    ("pss_mib", ("penstock", "local"), None, "under", 75.0),
    ("first_enqueue_s", ("penstock", "fsync"), None, "under", 0.2),
]

Group = dict[tuple[str, tuple[str, str]], list[float]]


def grouped(document: dict[str, Any]) -> Group:
    """Return the samples by figure and contestant."""
    groups: Group = defaultdict(list)
    for sample in document["samples"]:
        key = (sample["figure"], (sample["name"], sample["durability"]))
        groups[key].append(sample["value"])
    return groups


def embedded(document: dict[str, Any]) -> str:
    """Return the page of the embedded scenario."""
    groups = grouped(document)
    who = sorted({key[1] for key in groups}, key=lambda one: (one[0] != "penstock", one))
    facts = document["machine"]
    origin = (
        f"{facts['date']}, commit {facts['commit']}, {facts['cpus']} CPUs, Python "
        f"{facts['python']}, kernel {facts['kernel']}, apsw {facts['apsw']}; "
        f"{document['rounds']} rounds, contestants in turn. Median, and lowest to highest. "
        "Every sample stands in `embedded.json`."
    )
    classes = (
        "`local` is synchronous NORMAL, `fsync` is FULL. huey leaves SQLite's default, FULL, or "
        "sets OFF; its `local` is a subclass made here. It has no bulk call for SQLite: its single "
        "call stands in. taskito has no FULL."
    )
    lines = [
        "# Penstock on SQLite beside huey and taskito",
        "",
        origin,
        "",
        classes,
        "",
        "| figure | " + " | ".join(f"{name} {durability}" for name, durability in who) + " |",
        "|---" * (len(who) + 1) + "|",
    ]
    for figure, (title, unit, digits) in FIGURES.items():
        cells = [_cell(groups.get((figure, one)), digits) for one in who]
        lines.append(f"| {title}, {unit} | " + " | ".join(cells) + " |")
    lines += ["", "| promised | measured | held |", "|---|---|---|"]
    lines += [_bar(groups, *bar) for bar in BARS]
    return "\n".join(lines) + "\n"


def _cell(values: list[float] | None, digits: int) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def _bar(
    groups: Group,
    figure: str,
    ours: tuple[str, str],
    theirs: tuple[str, str] | None,
    wording: str,
    bound: float,
) -> str:
    title, unit, digits = FIGURES[figure]
    mine = groups.get((figure, ours))
    other = groups.get((figure, theirs)) if theirs else None
    if not mine or (theirs and not other):
        return f"| {title}: {wording} {bound} | not measured in this run | |"
    value = statistics.median(mine)
    if theirs and other:
        value /= statistics.median(other)
        unit, digits = f"x {theirs[0]}", 2
    held = value >= bound if wording == "at least" else value < bound
    name = f"{title} ({ours[1]}): {wording} {bound:g} {unit}"
    return f"| {name} | {value:,.{digits}f} {unit} | {'yes' if held else '**no**'} |"
