"""Small programs on one SQLite file, run as real processes: `python -m tests.support.sqlite_actor`.

Each prints one line per fact, unbuffered, so that what was printed was true before it was printed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.job import Claimed
from tests.support.port_actor import LEASE_MS, QUEUE, PortActor, completions, say

__all__ = ["LEASE_MS", "QUEUE", "ROOT", "Actor", "completions", "say", "start"]

ROOT = Path(__file__).resolve().parents[2]


class Actor(PortActor):
    """The actor of a file."""

    broker: SqliteBroker

    def __init__(self, path: str | Path, durability: r.Durability = r.Durability.LOCAL) -> None:
        """Open the file."""
        super().__init__(SqliteBroker.open(path, durability=durability))


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
