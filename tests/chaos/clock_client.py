"""A producer and an operator under a clock of their own, as one process: `URL SEED` and commands.

Each line of standard input is a command; each is answered by one line of JSON.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from penstock import App
from penstock.broker.requests import Retention
from penstock.connect import connect
from penstock.core.lifecycle import State
from penstock.task import Call
from tests.chaos import clock_tasks, tasks
from tests.support import history as h

#: Delay of some jobs, and the milliseconds after which an operator prunes: within the hour by which
#: the clocks here differ.
DELAY_MS = 500
PRUNE_AFTER_MS = 30 * 60_000
#: Jobs of one call; between two of them the workers get a turn.
BATCH = 10


class Client:
    """What the commands do."""

    def __init__(self, url: str, seed: int) -> None:
        """Open the broker."""
        self._app = App(url)
        self._app.include(tasks)
        self._app.include(clock_tasks)
        self._broker = connect(url)
        self._draw = random.Random(seed)
        self._history = h.History(Path(os.environ[h.HISTORY_ENV]))

    def now(self) -> float:
        """Return this process's wall time, in seconds."""
        return time.time()

    def load(self, count: int) -> int:
        """Enqueue jobs of all kinds, and return how many."""
        for _ in range(0, count, BATCH):
            calls = [self._call() for _ in range(BATCH)]
            for job, call in zip(self._app.enqueue_many(calls), calls, strict=True):
                self._history.append(h.Accepted(job=job.id, digest=call.digest))
            time.sleep(0.05)
        return count

    def repeat(self) -> bool:
        """Enqueue under a key that was used minutes ago; return whether it was found taken."""
        [job] = self._app.enqueue_many([clock_tasks.once_in_half_an_hour.using(key="k").call()])
        self._history.append(h.Accepted(job=job.id, duplicate=job.duplicate))
        return job.duplicate

    def keep_house(self) -> dict[str, int]:
        """Promote, expire and prune once; return how many jobs each found."""
        queues = [one.queue for one in self._broker.counts()]
        rules = [Retention(state=State.COMPLETED, age_ms=PRUNE_AFTER_MS, count_max=10**6)]
        return {
            "promote": self._broker.promote(queues, limit=100),
            "expire": self._broker.expire(queues, limit=100),
            "prune": self._broker.prune(queues, rules, limit=100),
        }

    def _call(self) -> Call[Any]:
        chance = self._draw.random()
        if chance < 0.2:
            return tasks.wait.using(delay=DELAY_MS / 1000).call(0.01)
        if chance < 0.3:
            return clock_tasks.fail_once.call()
        # Some outlast a lease, so that one which ends early takes them over.
        if chance < 0.35:
            return tasks.wait.call(2.5)
        kind = self._draw.choice((tasks.work, tasks.wait))
        return kind.call(self._draw.uniform(0.005, 0.05))


def main() -> None:
    """Obey until the input ends."""
    client = Client(sys.argv[1], int(sys.argv[2]))
    commands: dict[str, Any] = {
        "now": client.now,
        "load": client.load,
        "repeat": client.repeat,
        "keep_house": client.keep_house,
    }
    for line in sys.stdin:
        name, *words = line.split()
        answer = commands[name](*map(int, words))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
