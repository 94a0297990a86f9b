"""Mixed work on Celery prefork. Variant `split`: a queue and a worker of its own for heavy jobs."""

from __future__ import annotations

import os

from celery import Celery
from mixed_work import heavy_body, light_body, noop_body

SPLIT = os.environ["BENCH_VARIANT"].startswith("split")
app = Celery("mixed", broker=os.environ["BENCH_URL"])
app.conf.task_default_queue = "light"
app.conf.task_ignore_result = True
# One job at a time for each process: what is fetched ahead would stand behind a heavy one.
app.conf.worker_prefetch_multiplier = 1

light = app.task(name="light")(light_body)
noop = app.task(name="noop")(noop_body)
heavy = app.task(name="heavy")(heavy_body)


def put(kind: str, number: int, at_ns: int, mib: int, cpu_s: float) -> None:
    """Put one job in."""
    if kind == "heavy":
        queue = "heavy" if SPLIT else "light"
        heavy.apply_async((number, at_ns, mib, cpu_s), queue=queue)
    else:
        (noop if kind == "noop" else light).delay(number, at_ns)
