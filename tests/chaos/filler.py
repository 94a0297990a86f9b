"""A producer of large jobs that ends when it is refused, and says how.

usage: python -m tests.chaos.filler URL HISTORY [DURABILITY]

Prints one line of JSON: the class and the text of the error, and how many jobs were accepted. Each
job is tried a few times under one key: a server that is only slow is not full.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import msgspec

from penstock import App
from penstock.errors import BrokerError
from tests.chaos import tasks
from tests.support import history as h

#: Characters of one argument, which nothing can make shorter.
CHARS = 25_000
#: Jobs for which there is no room anywhere.
JOBS_MAX = 3_000
#: Tries of one job, and the pause between two of them.
TRIES, PAUSE_S = 4, 0.2


class Refusal(msgspec.Struct):
    """How it ended."""

    error: str
    text: str
    accepted: int


def fill(url: str, history: h.History, durability: str | None) -> Refusal:
    """Enqueue until refused."""
    app = App(url)
    app.include(tasks)
    accepted = failures = 0
    while accepted < JOBS_MAX:
        key = f"filler {accepted}"
        call = tasks.measure_in_loop.using(key=key).call(argument(key))
        try:
            (job,) = app.enqueue_many([call], durability=durability)
        except BrokerError as error:
            failures += 1
            if failures == TRIES:
                return Refusal(type(error).__name__, str(error), accepted)
            time.sleep(PAUSE_S)
        else:
            accepted, failures = accepted + 1, 0
            history.append(h.Accepted(job=job.id, durability=str(job.durability)))
    return Refusal("", f"{JOBS_MAX} jobs, and there was always room", accepted)


def argument(key: str) -> str:
    """Return a text that is the same for the same key."""
    return random.Random(key).randbytes(CHARS // 2).hex()


def main() -> None:
    """Read the arguments and fill."""
    url, path, *durability = sys.argv[1:]
    with h.History(Path(path)) as history:
        refusal = fill(url, history, durability[0] if durability else None)
    sys.stdout.write(f"{msgspec.json.encode(refusal).decode()}\n")


if __name__ == "__main__":
    main()
