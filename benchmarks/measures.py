"""The measurements that every store has in common; a scenario says on what and how many."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import harness, processes

if TYPE_CHECKING:
    import subprocess

    from benchmarks.contestants import Contestant
    from benchmarks.stores import Place

#: Jobs before the first latency counts: connections, caches and lazy imports.
WARM_JOBS = 20
LATENCY_JOBS = 200
MEMORY_JOBS = 100
#: Jobs that one producer makes before it puts them in.
FILL_JOBS = 200_000


def drain(
    one: Contestant, place: Place, count: int, upto: int = 0, look_s: float = harness.LOOK_S
) -> dict[str, float]:
    """Put `count` jobs in, then measure from the first body's start until results are stored.

    Args:
        one: whose worker drains.
        place: where; empty but for its tables.
        count: jobs put in before the worker starts.
        upto: results to wait for; 0: all of them.
        look_s: seconds between looks at the results.

    Returns:
        jobs/s, and CPU of worker and server per job from the first body on, in us.
    """
    fill(one, place, count)

    def done() -> int:
        return one.done(place, one.queue_names, count)

    with harness.worker(one, place) as process:
        mark = place.folder / "first"
        started_ns = int(
            harness.wait_until("first job", lambda: text(mark), place, process, look_s)
        )
        before = done()
        spent_s = _spent_s(place, process)
        wanted = upto or count
        harness.wait_until("all results", lambda: done() >= wanted, place, process, look_s)
        ended_ns = time.time_ns()
        reached = done() if upto else count
        spent_s = tuple(b - a for a, b in zip(spent_s, _spent_s(place, process), strict=True))
    return {
        "drain_per_s": reached / ((ended_ns - started_ns) / 1e9),
        "worker_cpu_us": spent_s[0] / max(reached - before, 1) * 1e6,
        "server_cpu_us": spent_s[1] / max(reached - before, 1) * 1e6,
    }


def fill(one: Contestant, place: Place, count: int) -> None:
    """Put `count` jobs in, as many at once as a producer holds in memory without harm."""
    for at in range(0, count, FILL_JOBS):
        harness.act(one, place, "bulk", count=min(FILL_JOBS, count - at))


def _spent_s(place: Place, process: subprocess.Popen[bytes]) -> tuple[float, ...]:
    return processes.cpu_s(processes.tree(process.pid)), place.server_cpu_s()


def pick_up(one: Contestant, place: Place) -> dict[str, float]:
    """Milliseconds from just before the enqueue call to the body's start; idle queue."""
    with harness.worker(one, place) as process:
        marks = place.folder / "latency"
        for count in (WARM_JOBS, LATENCY_JOBS):
            wanted = lines(marks) + count
            harness.act(one, place, "produce", count=count)
            _until_lines(marks, wanted, place, process)
    late_ms = sorted(int(line) / 1e6 for line in marks.read_text().split()[WARM_JOBS:])
    return {
        "pick_up_p50_ms": statistics.median(late_ms),
        "pick_up_p99_ms": late_ms[int(len(late_ms) * 0.99)],
    }


def _until_lines(marks: Path, wanted: int, place: Place, process: subprocess.Popen[bytes]) -> None:
    harness.wait_until("all jobs", lambda: lines(marks) >= wanted, place, process)


def start(one: Contestant, place: Place) -> dict[str, float]:
    """Seconds from the start of a fresh process to its first accepted enqueue; warm file cache."""
    harness.act(one, place, "first")
    return {"first_enqueue_s": harness.act(one, place, "first")["seconds"]}


def memory(one: Contestant, place: Place) -> dict[str, float]:
    """PSS in MiB of the worker, with all it started, after 100 jobs."""
    with harness.worker(one, place) as process:
        return {"pss_mib": pss_after(one, place, process, MEMORY_JOBS)}


def pss_after(one: Contestant, place: Place, process: subprocess.Popen[bytes], total: int) -> float:
    """Put 100 jobs in, wait until `total` have run, and return the worker's PSS in MiB."""
    mark = place.folder / "first"
    mark.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (place.folder / "first.lock").rmdir()
    harness.act(one, place, "bulk", count=MEMORY_JOBS)
    # The first body shows that the worker has made the tables and keys that are counted.
    harness.wait_until("first job", lambda: text(mark), place, process)
    harness.wait_until(
        "all results", lambda: one.done(place, one.queue_names, total) >= total, place, process
    )
    return processes.pss_mib(processes.tree(process.pid))


def rate(answer: dict[str, float]) -> float:
    """Return jobs/s of an action's answer."""
    return answer["count"] / answer["seconds"]


def text(path: Path) -> str:
    """Return what a file holds; nothing while it is not there."""
    return path.read_text() if path.exists() else ""


def lines(path: Path) -> int:
    """Return how many lines a file holds."""
    return text(path).count("\n")
