"""Small programs on one SQLite file, run as real processes: `python -m tests.support.sqlite_actor`.

Each prints one line per fact, unbuffered, so that what was printed was true before it was printed.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import SHARED, Claimed, JobSpec

ROOT = Path(__file__).resolve().parents[2]
#: The only queue of these programs.
QUEUE = "q"
#: Long enough that no lease of a test that works runs out.
LEASE_MS = 600_000


def say(*words: object) -> None:
    """Print one line and flush it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Actor:
    """A broker with short ways for one queue."""

    def __init__(self, path: str | Path, durability: r.Durability = r.Durability.LOCAL) -> None:
        """Open the file."""
        self.broker = SqliteBroker.open(path, durability=durability)
        self._ids = JobIdSource()

    def request(self) -> r.EnqueueRequest:
        """Return a request for one job."""
        tag = self.broker.register([QUEUE])[QUEUE]
        job_id = self._ids.draw(time.time_ns() // 1_000_000, tag, secrets.randbits(48))
        spec = JobSpec(task="task", payload=msgspec.Raw(b'{"text":"%s"}' % (b"x" * 100)))
        return r.EnqueueRequest(id=job_id, queue=QUEUE, spec=spec)

    def put(self, jobs: int = 1) -> list[JobId]:
        """Enqueue jobs in one call and return their ids."""
        answers = self.broker.enqueue([self.request() for _ in range(jobs)])
        return [answer.id for answer in answers if isinstance(answer, r.Accepted)]

    def lease(self) -> LeaseId:
        """Open a lease."""
        lease = LeaseId(secrets.token_hex(16))
        owner = r.Owner("worker", "host", "boot", 1, os.getpid(), 1)
        self.broker.open_lease(r.OpenLease(id=lease, queues=(QUEUE,), owner=owner, ttl_ms=LEASE_MS))
        return lease

    def claim_request(
        self, lease: LeaseId, limit: int, wake_token: str | None = None
    ) -> r.ClaimRequest:
        """Return a claim of the shared set."""
        return r.ClaimRequest(
            lease=lease,
            offers=(r.Offer(QUEUE, (SHARED,)),),
            limit=limit,
            fence=Fence(secrets.token_hex(16)),
            wake_token=wake_token,
        )


def completions(jobs: Sequence[Claimed]) -> list[s.Settlement]:
    """Return settlements: all went well."""
    return [s.Complete(id=j.id, fence=j.fence, outcome="succeeded", result=b"1") for j in jobs]


def enqueue(path: str, jobs: str, call: str) -> None:
    """Enqueue `jobs` jobs, `call` in one call, and print each id once it is accepted."""
    actor = Actor(path)
    for _ in range(0, int(jobs), int(call)):
        say(*actor.put(int(call)))


def work(path: str, until_completed: str) -> None:
    """Settle and claim until so many jobs are completed in all; print each id that was applied."""
    actor = Actor(path)
    lease = actor.lease()
    running: Sequence[Claimed] = ()
    while running or actor.broker.counts()[0].completed < int(until_completed):
        applied, answer = actor.broker.cycle(
            completions(running), actor.claim_request(lease, limit=20)
        )
        for job, one in zip(running, applied, strict=True):
            say(job.id, one.value)
        running = answer.jobs


def sleep(path: str) -> None:
    """Sleep until woken, and print the id of the job that was there."""
    actor = Actor(path)
    lease = actor.lease()
    listener = actor.broker.listen()
    actor.broker.claim(actor.claim_request(lease, limit=1, wake_token=listener.token))
    say("asleep")
    say("woken" if listener.wait(30) else "not woken")
    say(*(job.id for job in actor.broker.claim(actor.claim_request(lease, limit=1)).jobs))


def hold(path: str) -> None:
    """Hold a write transaction until a line comes in."""
    import apsw

    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    say("held")
    sys.stdin.readline()
    connection.execute("ROLLBACK")


def start(name: str, *words: object) -> subprocess.Popen[str]:
    """Start one of these programs with pipes on all its ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.sqlite_actor", name, *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


PROGRAMS: dict[str, Callable[..., None]] = {
    "enqueue": enqueue,
    "work": work,
    "sleep": sleep,
    "hold": hold,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
