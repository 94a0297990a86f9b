"""How does Penstock on SQLite compare with huey and taskito on SQLite, in one run?

Every figure is taken from outside the contestants by one harness, contestants in turn within each
round, so that a slow minute of the machine hits all of them. One worker process each, results
stored, default log level or less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import harness, measures
from benchmarks.entries import sqlite
from benchmarks.promises import embedded
from benchmarks.scenario import Scenario
from benchmarks.stores import sqlite_file

if TYPE_CHECKING:
    from benchmarks.contestants import Contestant

ENQUEUE_JOBS = {"local": 5_000, "fsync": 2_000}
BULK_JOBS = 20_000
DELAYED_JOBS = 100_000


def enqueue(one: Contestant) -> dict[str, float]:
    """Jobs per second, one call each, from one thread; and in bulk calls of 500."""
    with sqlite_file() as place:
        single = harness.act(one, place, "enqueue", count=ENQUEUE_JOBS[one.variant])
        bulk = harness.act(one, place, "bulk", count=BULK_JOBS)
    return {"enqueue_per_s": measures.rate(single), "bulk_per_s": measures.rate(bulk)}


def drain(one: Contestant) -> dict[str, float]:
    """Jobs per second from the first body's start until all results are stored."""
    with sqlite_file() as place:
        found = measures.drain(one, place, one.drain_jobs)
    return {figure: found[figure] for figure in ("drain_per_s", "worker_cpu_us")}


def pick_up(one: Contestant) -> dict[str, float]:
    """Milliseconds from just before the enqueue call to the body's start; idle queue."""
    with sqlite_file() as place:
        return measures.pick_up(one, place)


def start(one: Contestant) -> dict[str, float]:
    """Seconds from the start of a fresh process to its first accepted enqueue."""
    with sqlite_file() as place:
        return measures.start(one, place)


def memory(one: Contestant) -> dict[str, float]:
    """PSS in MiB of the worker after 100 jobs, and for Penstock with 100,000 delayed jobs."""
    jobs = measures.MEMORY_JOBS
    with sqlite_file() as place, harness.worker(one, place) as process:
        found = {"pss_mib": measures.pss_after(one, place, process, jobs)}
        if one.name == "penstock":
            harness.act(one, place, "delayed", count=DELAYED_JOBS)
            found["pss_100k_delayed_mib"] = measures.pss_after(one, place, process, 2 * jobs)
    return found


SCENARIO = Scenario(
    title="Penstock on SQLite beside huey and taskito",
    notes=(
        "`local` is synchronous NORMAL, `fsync` is FULL. huey leaves SQLite's default, FULL, or "
        "sets OFF; its `local` is a subclass made here. It has no bulk call for SQLite: its single "
        "call stands in. taskito has no FULL."
    ),
    everybody=sqlite.everybody,
    measures={
        "enqueue": enqueue,
        "drain": drain,
        "pick_up": pick_up,
        "start": start,
        "memory": memory,
    },
    figures=embedded.FIGURES,
    tables=embedded.TABLES,
    bars=embedded.BARS,
    by_contestant=False,
)
