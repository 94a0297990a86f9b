"""Figures and promises on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import Bar, Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.report import Key

FIGURES = {
    "drain_per_s": Figure("drain, results stored", "jobs/s", 0),
    "worker_cpu_us": Figure("worker CPU per job", "us", 0, less_is_better=True),
    "enqueue_per_s": Figure("enqueue, one call each", "jobs/s", 0),
    "bulk_per_s": Figure("bulk enqueue", "jobs/s", 0),
    "pick_up_p50_ms": Figure("pick-up on an idle queue, p50", "ms", 2, less_is_better=True),
    "pick_up_p99_ms": Figure("pick-up on an idle queue, p99", "ms", 2, less_is_better=True),
    "first_enqueue_s": Figure(
        "fresh process to first accepted enqueue", "s", 3, less_is_better=True
    ),
    "pss_mib": Figure("PSS of the worker after 100 jobs", "MiB", 1, less_is_better=True),
    "pss_100k_delayed_mib": Figure(
        "the same with 100,000 delayed jobs", "MiB", 1, less_is_better=True
    ),
}
TABLES = {"": tuple(FIGURES)}

FSYNC, LOCAL = ("penstock", "fsync"), ("penstock", "local")


def exactly(name: str, variant: str) -> Callable[[Key], bool]:
    """Return whether a contestant is this one."""
    return lambda key: key == (name, variant)


# huey's `local` has no bar: it is a class made here (ADR-0018). The page shows it all the same.
BARS = (
    Bar("drain_per_s", "at least", 6.0, FSYNC, exactly("huey", "fsync"), "huey"),
    Bar("enqueue_per_s", "at least", 1.0, LOCAL, exactly("taskito", "local"), "taskito"),
    Bar("bulk_per_s", "at least", 1.0, LOCAL, exactly("taskito", "local"), "taskito"),
    Bar("pick_up_p50_ms", "under", 3.0, LOCAL),
    Bar("pick_up_p99_ms", "under", 10.0, LOCAL),
    Bar("pss_mib", "under", 75.0, LOCAL),
    Bar("pss_100k_delayed_mib", "at most", 1.02, LOCAL, of="pss_mib"),
    Bar("first_enqueue_s", "under", 0.2, FSYNC),
)
