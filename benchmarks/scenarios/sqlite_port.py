"""How many calls of the port does one SQLite file bear, and how fast are the hot verbs?

Requests are built before the clock starts, so that only the broker is measured. Each class of
durability is measured in turn within each round. Printed as a table, and as JSON with every sample.

Run: python -m benchmarks.scenarios.sqlite_port [--rounds 5] [--json FILE] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import platform
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import apsw
import msgspec

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.ids import Fence, JobIdSource, LeaseId
from penstock.core.job import SHARED, JobSpec
from penstock.core.settlement import Complete

#: A no-op with one dict of two fields, as in the comparison with the peers.
PAYLOAD = msgspec.Raw(b'{"user":{"id":123456,"email":"user@example.com"}}')
#: Calls of the single verbs in one sample; fsync waits for the disk at each.
SINGLE_CALLS = {r.Durability.LOCAL: 5_000, r.Durability.FSYNC: 1_000}
BULK_JOBS = 50_000
BULK_CALL = 500
CYCLE_JOBS = 20_000
CYCLE_CALL = 100
#: Completed jobs and queued ones that stand before the cycle of the "deep" scenario.
DEEP_JOBS = 100_000
THREADS = 8
QUEUE = "default"


class Stage:
    """One fresh file with one queue and one lease."""

    def __init__(self, folder: Path, durability: r.Durability) -> None:
        """Open the file."""
        self.broker = SqliteBroker.open(folder / "bench.db", durability=durability)
        self.tag = self.broker.register([QUEUE])[QUEUE]
        self.ids = JobIdSource()
        self.lease = LeaseId(secrets.token_hex(16))
        owner = r.Owner("bench", "host", "boot", 1, 1, 1)
        self.broker.open_lease(
            r.OpenLease(id=self.lease, queues=(QUEUE,), owner=owner, ttl_ms=3_600_000)
        )

    def requests(self, count: int) -> list[r.EnqueueRequest]:
        """Return requests for `count` jobs."""
        spec = JobSpec(task="bench.noop", payload=PAYLOAD)
        now = time.time_ns() // 1_000_000
        return [
            r.EnqueueRequest(
                id=self.ids.draw(now, self.tag, secrets.randbits(48)), queue=QUEUE, spec=spec
            )
            for _ in range(count)
        ]

    def fill(self, count: int) -> None:
        """Enqueue `count` jobs in bulk, whatever the class."""
        for batch in batches(self.requests(count), BULK_CALL):
            self.broker.enqueue(batch, durability=r.Durability.LOCAL)

    def cycle(self, jobs: int, call: int) -> int:
        """Settle and claim until `jobs` are settled; return how many were."""
        settled: list[Complete] = []
        done = 0
        while done < jobs:
            request = r.ClaimRequest(
                lease=self.lease,
                offers=(r.Offer(QUEUE, (SHARED,)),),
                limit=call,
                fence=Fence(secrets.token_hex(16)),
            )
            done += len(settled)
            _, answer = self.broker.cycle(settled, request)
            settled = [
                Complete(id=job.id, fence=job.fence, outcome="succeeded", result=b"null")
                for job in answer.jobs
            ]
            if not settled:
                break
        return done


def batches(items: list[r.EnqueueRequest], size: int) -> Iterator[list[r.EnqueueRequest]]:
    """Cut a list into calls."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def stage(folder: Path | None, durability: r.Durability) -> Iterator[Stage]:
    """Open a fresh file in a folder of its own, and remove it afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        made = Stage(Path(name), durability)
        try:
            yield made
        finally:
            made.broker.close()


def single(made: Stage, durability: r.Durability) -> float:
    """Jobs per second of one thread, one job a call."""
    jobs = made.requests(SINGLE_CALLS[durability])
    started = time.perf_counter()
    for job in jobs:
        made.broker.enqueue((job,))
    return len(jobs) / (time.perf_counter() - started)


def threads(made: Stage, durability: r.Durability) -> float:
    """Jobs per second of eight threads, one job a call."""
    parts = [made.requests(SINGLE_CALLS[durability] // 2) for _ in range(THREADS)]

    def enqueue(jobs: list[r.EnqueueRequest]) -> None:
        for job in jobs:
            made.broker.enqueue((job,))

    workers = [Thread(target=enqueue, args=(jobs,)) for jobs in parts]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(map(len, parts)) / (time.perf_counter() - started)


def bulk(made: Stage, durability: r.Durability) -> float:  # noqa: ARG001 - scenarios look alike
    """Jobs per second of one thread, 500 jobs a call."""
    calls = list(batches(made.requests(BULK_JOBS), BULK_CALL))
    started = time.perf_counter()
    for call in calls:
        made.broker.enqueue(call)
    return BULK_JOBS / (time.perf_counter() - started)


def cycle(made: Stage, durability: r.Durability) -> float:  # noqa: ARG001 - scenarios look alike
    """Jobs per second settled and claimed, 100 a call."""
    made.fill(CYCLE_JOBS + CYCLE_CALL)
    started = time.perf_counter()
    done = made.cycle(CYCLE_JOBS, CYCLE_CALL)
    return done / (time.perf_counter() - started)


def deep_cycle(made: Stage, durability: r.Durability) -> float:
    """The same with 100,000 jobs completed and 100,000 queued behind."""
    made.fill(2 * DEEP_JOBS)
    made.cycle(DEEP_JOBS, BULK_CALL)
    return cycle(made, durability)


def one_by_one(made: Stage, durability: r.Durability) -> float:
    """Jobs per second settled and claimed, one a call."""
    jobs = SINGLE_CALLS[durability] // 2
    made.fill(jobs + 1)
    started = time.perf_counter()
    done = made.cycle(jobs, 1)
    return done / (time.perf_counter() - started)


Scenario = Callable[[Stage, r.Durability], float]
SCENARIOS: dict[str, Scenario] = {
    "enqueue, one job a call": single,
    "enqueue, one job a call, 8 threads": threads,
    "enqueue, 500 jobs a call": bulk,
    "settle + claim, 100 a call": cycle,
    "settle + claim, 1 a call": one_by_one,
    "settle + claim, 100 a call, deep": deep_cycle,
}


def measure(rounds: int, folder: Path | None) -> dict[str, dict[str, list[float]]]:
    """Return every sample, by scenario and class."""
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in SCENARIOS}
    for _ in range(rounds):
        for name, scenario in SCENARIOS.items():
            for durability in SINGLE_CALLS:
                with stage(folder, durability) as made:
                    per_s = scenario(made, durability)
                samples[name].setdefault(durability, []).append(per_s)
    return samples


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write machine, versions and all samples here")
    parser.add_argument("--folder", type=Path, help="measure on this disk; default: the temp dir")
    options = parser.parse_args()
    samples = measure(options.rounds, options.folder)
    print(f"{'jobs per second, median (best)':36}{'local':>20}{'fsync':>20}")
    for name, by_class in samples.items():
        cells = (
            f"{statistics.median(by_class[one]):,.0f} ({max(by_class[one]):,.0f})"
            for one in SINGLE_CALLS
        )
        print(f"{name:36}" + "".join(f"{cell:>20}" for cell in cells))
    if options.json is not None:
        facts = {
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
            "machine": platform.machine(),
            "kernel": platform.release(),
            "samples_per_s": samples,
        }
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
