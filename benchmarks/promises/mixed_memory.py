"""Figures and promises of mixed work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import Bar, Figure

if TYPE_CHECKING:
    from benchmarks.report import Key

FIGURES = {
    "kills": Figure("kernel kills at 6 GiB", "processes", 0, less_is_better=True),
    "hits": Figure("limit hit at 6 GiB, page cache too", "times", 0, less_is_better=True),
    "lost_6": Figure("jobs lost at 6 GiB", "jobs", 0, less_is_better=True),
    "lost_8": Figure("jobs lost at 8 GiB", "jobs", 0, less_is_better=True),
    "anonymous_mib": Figure("most memory at 8 GiB", "MiB", 0, less_is_better=True),
    "makespan_s": Figure("until the last heavy job", "s", 1, less_is_better=True),
    "light_p50_ms": Figure("light pick-up p50", "ms", 1, less_is_better=True),
    "light_p95_ms": Figure("light pick-up p95", "ms", 1, less_is_better=True),
    "light_p99_ms": Figure("light pick-up p99", "ms", 1, less_is_better=True),
    "packed_percent": Figure("memory x time used of the budget", "%", 0),
    "of_planner_percent": Figure("of what a planner reaches that knows all", "%", 0),
    "producer_mib": Figure("producer, at most", "MiB", 0, less_is_better=True),
    "last_noop_s": Figure("last of 50 no-ops behind two 3 s jobs", "s", 2, less_is_better=True),
    "heavy_stretch": Figure("the two beside no-ops, by the two alone", "x", 2, less_is_better=True),
    "heavy_at_once": Figure("heavy jobs at once", "jobs", 0, less_is_better=True),
    "head_lost": Figure("jobs lost behind them", "jobs", 0, less_is_better=True),
}
TABLES = {
    "In 6 GiB": ("kills", "hits", "lost_6"),
    "In 8 GiB": (
        "lost_8", "anonymous_mib", "makespan_s", "light_p50_ms", "light_p95_ms", "light_p99_ms",
    ),
    "Packing": ("packed_percent", "of_planner_percent", "producer_mib"),
    "Head of line": ("last_noop_s", "heavy_stretch", "heavy_at_once", "head_lost"),
}  # fmt: skip

HINT, DECLARED, PLAIN = ("penstock", "hint"), ("penstock", "declared"), ("penstock", "plain")


def loses_nothing(key: Key) -> bool:
    """Whether this is a peer whose number of processes, or queues, was chosen for this very work.

    With four and eight processes Celery loses jobs to the kernel, so its time says nothing.
    """
    return key[0] != "penstock" and key[1] not in {"c4", "c8"}


BARS = (
    Bar("kills", "at most", 0, HINT),
    Bar("lost_6", "at most", 0, HINT),
    Bar("anonymous_mib", "at most", 6 * 1024, HINT),
    Bar("light_p99_ms", "under", 10, HINT),
    Bar("makespan_s", "at most", 1.15, HINT, loses_nothing, "the best peer that loses nothing"),
    Bar("of_planner_percent", "at least", 75, HINT),
    Bar("producer_mib", "under", 200, HINT),
    *(
        bar
        for ours in (DECLARED, PLAIN)
        for bar in (
            Bar("last_noop_s", "at most", 0.3, ours),
            Bar("heavy_at_once", "at most", 2, ours),
            Bar("heavy_stretch", "at most", 1.1, ours),
        )
    ),
)
