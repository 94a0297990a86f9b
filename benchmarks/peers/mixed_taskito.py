"""Mixed work on taskito, in its pool of processes (`w2`: two of them), on SQLite."""

from __future__ import annotations

import os

from mixed_work import heavy_body, light_body, noop_body
from taskito import Queue

queue = Queue(
    db_path=os.environ["BENCH_URL"],
    workers=int(os.environ["BENCH_VARIANT"].removeprefix("w")),
    scheduler_poll_interval_ms=5,
    push_dispatch=True,
)


@queue.task()
def light(number: int, at_ns: int) -> None:
    """Sleep for 20 ms."""
    light_body(number, at_ns)


@queue.task()
def noop(number: int, at_ns: int) -> None:
    """Do nothing."""
    noop_body(number, at_ns)


@queue.task()
def heavy(number: int, at_ns: int, mib: int, cpu_s: float) -> None:
    """Touch memory and compute."""
    heavy_body(number, at_ns, mib, cpu_s)


def put(kind: str, number: int, at_ns: int, mib: int, cpu_s: float) -> None:
    """Put one job in."""
    if kind == "heavy":
        heavy.delay(number, at_ns, mib, cpu_s)
    else:
        (noop if kind == "noop" else light).delay(number, at_ns)
