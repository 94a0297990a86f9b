"""How does Penstock on SQLite compare with huey and taskito on SQLite, in one run?

Every figure is taken from outside the contestants by one harness, contestants in turn within each
round, so that a slow minute of the machine hits all of them. One worker process each, results
stored, default log level or less.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import harness

if TYPE_CHECKING:
    import subprocess

    from benchmarks.contestants import Contestant

#: Jobs per drain: slow contestants get fewer, so that a round stays under a minute.
DRAIN_JOBS = {"penstock": 20_000, "huey": 4_000, "taskito": 600}
ENQUEUE_JOBS = {"local": 5_000, "fsync": 2_000}
BULK_JOBS = 20_000
LATENCY_JOBS = 200
DELAYED_JOBS = 100_000
MEMORY_JOBS = 100


def enqueue(contestant: Contestant) -> dict[str, float]:
    """Jobs per second, one call each, from one thread; and in bulk calls of 500."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = ENQUEUE_JOBS[contestant.durability]
        single = harness.act(contestant, folder, "enqueue", count=count)
        bulk = harness.act(contestant, folder, "bulk", count=BULK_JOBS)
    return {
        "enqueue_per_s": single["count"] / single["seconds"],
        "bulk_per_s": bulk["count"] / bulk["seconds"],
    }


def drain(contestant: Contestant) -> dict[str, float]:
    """Jobs per second from the first body's start until all results are stored."""
    count = DRAIN_JOBS[contestant.name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.act(contestant, folder, "bulk", count=count)
        with harness.worker(contestant, folder) as process:
            first = harness.wait_until(
                "first job", lambda: _text(folder / "first"), folder, process
            )
            started_ns = int(first)
            watch = harness.Watch(contestant, folder)
            harness.wait_until("all results", lambda: watch.done() >= count, folder, process)
            ended_ns = time.time_ns()
            watch.close()
            used_s = harness.cpu_s(harness.tree(process.pid))
    return {
        "drain_per_s": count / ((ended_ns - started_ns) / 1e9),
        "worker_cpu_us": used_s / count * 1e6,
    }


def pick_up(contestant: Contestant) -> dict[str, float]:
    """Milliseconds from just before the enqueue call to the body's start; idle queue."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with harness.worker(contestant, folder) as process:
            harness.act(contestant, folder, "produce", count=5)
            marks = folder / "latency"
            harness.wait_until("warm", lambda: _lines(marks) >= 5, folder, process)
            harness.act(contestant, folder, "produce", count=LATENCY_JOBS)
            wanted = LATENCY_JOBS + 5
            harness.wait_until("all jobs", lambda: _lines(marks) >= wanted, folder, process)
        late_ms = sorted(int(line) / 1e6 for line in marks.read_text().split()[5:])
    return {
        "pick_up_p50_ms": statistics.median(late_ms),
        "pick_up_p99_ms": late_ms[int(len(late_ms) * 0.99)],
    }


def start(contestant: Contestant) -> dict[str, float]:
    """Seconds from the start of a fresh process to its first accepted enqueue; warm file cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.act(contestant, folder, "first")
        return {"first_enqueue_s": harness.act(contestant, folder, "first")["seconds"]}


def memory(contestant: Contestant) -> dict[str, float]:
    """PSS in MiB of the worker after 100 jobs, and for Penstock with 100,000 delayed jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with harness.worker(contestant, folder) as process:
            found = {"pss_mib": _pss_after(contestant, folder, process, MEMORY_JOBS)}
            if contestant.name == "penstock":
                harness.act(contestant, folder, "delayed", count=DELAYED_JOBS)
                total = 2 * MEMORY_JOBS
                found["pss_100k_delayed_mib"] = _pss_after(contestant, folder, process, total)
    return found


def _pss_after(
    contestant: Contestant, folder: Path, process: subprocess.Popen[bytes], total: int
) -> float:
    harness.act(contestant, folder, "bulk", count=MEMORY_JOBS)
    watch = harness.Watch(contestant, folder)
    harness.wait_until("all results", lambda: watch.done() >= total, folder, process)
    watch.close()
    return harness.pss_mib(harness.tree(process.pid))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


#: Name -> measurement of one contestant in one round.
MEASURES = {
    "enqueue": enqueue,
    "drain": drain,
    "pick_up": pick_up,
    "start": start,
    "memory": memory,
}
