"""A producer on whichever release comes first in its path: `URL NAME SEED`, a number a line.

For each number it enqueues so many jobs and answers with one line.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock import App
from tests.chaos import upgrade_tasks as tasks
from tests.support import history as h

#: Jobs of one call, and seconds between two: workers of both releases get a turn.
BATCH, PAUSE_S = 5, 0.02


def calls(draw: random.Random, name: str) -> Iterator[Any]:
    """Yield jobs of all kinds, for ever; each tells who enqueued it."""
    alone, newer = (task.using(triggered_by=name) for task in (tasks.alone, tasks.newer))
    wait, work = (task.using(triggered_by=name) for task in (tasks.wait, tasks.work))
    while True:
        chance, seconds = draw.random(), draw.uniform(0.005, 0.05)
        if chance < 0.08:
            yield alone.call(seconds)
        elif chance < 0.12:
            yield newer.call(seconds)
        elif chance < 0.3:
            yield wait.using(delay="300ms", tags=["late"]).call(seconds, fails=1)
        elif chance < 0.5:
            yield work.using(priority=draw.randint(0, 10), retries=5).call(seconds, fails=1)
        elif chance < 0.55:
            yield wait.using(key=f"{draw.random()}", expires="1h", result_ttl="1h").call(0.3)
        else:
            yield draw.choice((wait, work)).call(seconds)


def main() -> None:
    """Obey until the input ends."""
    app = App(sys.argv[1])
    app.include(*tasks.TASKS)
    name, seed = sys.argv[2:]
    several = calls(random.Random(f"{name} {seed}"), name)
    history = h.History(Path(os.environ[h.HISTORY_ENV]))
    for line in sys.stdin:
        last = None
        for _ in range(0, int(line), BATCH):
            batch = [next(several) for _ in range(BATCH - 1)]
            # One that waits for a job of the batch before.
            wait = tasks.wait.using(triggered_by=name)
            batch.append((wait.using(after=[last]) if last else wait).call(0.01))
            jobs = app.enqueue_many(batch)
            for job in jobs:
                history.append(h.Accepted(job=job.id))
            last = jobs[0].id
            time.sleep(PAUSE_S)
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
