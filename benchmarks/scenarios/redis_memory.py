"""How many bytes of a Redis server's memory does a job take in each state, with how large a text?

Jobs are put in, claimed and settled through the port, without a worker, on a fresh server for each
row. The bytes are the growth of `used_memory` without buffers, for each job. Arguments, results and
tracebacks are JSON texts of the size that is said; the server compresses nothing.

Run: python -m benchmarks.scenarios.redis_memory [--jobs 50000] [--only TEXT]
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.stores import RedisServer, redis_server
from penstock.broker import requests as r
from penstock.brokers.redis import RedisBroker
from penstock.core.ids import Fence, JobIdSource, LeaseId
from penstock.core.job import SHARED, Charges, Claimed, JobSpec, Reason, StoredError
from penstock.core.settlement import Bury, Complete, Retry, Settlement

QUEUE = "default"
ENQUEUE_JOBS = 500
HOUR_MS = 3_600_000
#: Characters of a traceback of a dozen calls.
TRACEBACK = 1_000


@dataclass(frozen=True)
class Case:
    """One row: what jobs are like, and how far they are taken.

    Attributes:
        end: the state in which they are counted.
        payload_bytes: arguments as JSON.
        result_bytes: result as JSON.
        claim_jobs: jobs of one claim.
        has_key: each was put in with a key of 16 characters.
    """

    end: str
    payload_bytes: int = 50
    result_bytes: int = 4
    claim_jobs: int = 100
    has_key: bool = False

    @property
    def name(self) -> str:
        """What the row is called."""
        words = [self.end, f"{self.payload_bytes:,} bytes of arguments"]
        if self.end == "completed":
            words.append(f"{self.result_bytes:,} bytes of result")
        if self.end in {"retrying", "dead"}:
            words.append(f"a traceback of {TRACEBACK:,} bytes")
        if self.has_key:
            words.append("with a key")
        if self.claim_jobs == 1:
            words.append("claimed one at a time")
        return ", ".join(words)


CASES = (
    *(Case("queued", payload_bytes=size) for size in (50, 100, 300, 1_000, 10_000)),
    Case("queued", has_key=True),
    Case("scheduled"),
    Case("running"),
    Case("retrying"),
    *(Case("completed", result_bytes=size) for size in (4, 100, 300, 1_000, 10_000)),
    Case("completed", claim_jobs=1),
    Case("dead"),
)


class Stage:
    """A server with one queue and one lease."""

    def __init__(self, place: RedisServer) -> None:
        """Open it."""
        self.broker = RedisBroker.open(place.url)
        self._ids = JobIdSource()
        self._tag = self.broker.register([QUEUE])[QUEUE]
        self._lease = LeaseId(secrets.token_hex(16))
        owner = r.Owner("bench", "host", "boot", 1, 1, 1)
        self.broker.open_lease(
            r.OpenLease(id=self._lease, queues=(QUEUE,), owner=owner, ttl_ms=HOUR_MS)
        )

    def live(self, case: Case, jobs: int) -> None:
        """Take jobs as far as the case says."""
        for first in range(0, jobs, ENQUEUE_JOBS):
            count = min(ENQUEUE_JOBS, jobs - first)
            self.broker.enqueue([self._request(case) for _ in range(count)])
        if case.end in {"queued", "scheduled"}:
            return
        while claimed := self._claim(case.claim_jobs):
            if case.end != "running":
                self.broker.settle([settlement(case, job) for job in claimed])

    def _request(self, case: Case) -> r.EnqueueRequest:
        key = secrets.token_hex(8) if case.has_key else None
        now_ms = time.time_ns() // 1_000_000
        return r.EnqueueRequest(
            id=self._ids.draw(now_ms, self._tag, secrets.randbits(48)),
            queue=QUEUE,
            spec=JobSpec(task="shop.pack", payload=text(case.payload_bytes), key=key),
            delay_ms=HOUR_MS if case.end == "scheduled" else None,
            key_digest=None if key is None else secrets.token_hex(16),
        )

    def _claim(self, limit: int) -> Sequence[Claimed]:
        request = r.ClaimRequest(
            lease=self._lease,
            offers=(r.Offer(QUEUE, (SHARED,)),),
            limit=limit,
            fence=Fence(secrets.token_hex(16)),
        )
        return self.broker.claim(request).jobs


def settlement(case: Case, job: Claimed) -> Settlement:
    """Return how a job of this case is settled."""
    if case.end == "completed":
        result = bytes(text(case.result_bytes))
        return Complete(id=job.id, fence=job.fence, outcome="succeeded", result=result)
    error = StoredError("ValueError", "nothing was ordered", "x" * TRACEBACK)
    if case.end == "retrying":
        return Retry(
            id=job.id, fence=job.fence, outcome="failed", error=error, delay_ms=HOUR_MS,
            charges=Charges(errors=1),
        )  # fmt: skip
    return Bury(
        id=job.id, fence=job.fence, outcome="failed", error=error,
        reason=Reason.RETRIES_EXHAUSTED,
    )  # fmt: skip


def text(size: int) -> msgspec.Raw:
    """Return a JSON text of this size."""
    return msgspec.Raw(b'"%b"' % (b"x" * (size - 2)))


def measure(case: Case, jobs: int) -> float:
    """Return the bytes of one job."""
    with redis_server() as place:
        stage = Stage(place)
        # The first job brings the scripts and the keys that do not grow.
        stage.live(case, 1)
        empty_bytes = place.used_memory_bytes()
        stage.live(case, jobs)
        grown_bytes = place.used_memory_bytes() - empty_bytes
        stage.broker.close()
    return grown_bytes / jobs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--only", default="", help="rows whose names hold this text")
    options = parser.parse_args()
    print("| a job that is | bytes |\n|---|---|")
    for case in CASES:
        if options.only in case.name:
            print(f"| {case.name} | {measure(case, options.jobs):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
