"""Mixed work on RQ, whose workers fork for each job. Variant `split`: as for Celery."""

from __future__ import annotations

import os

from mixed_work import heavy_body, light_body, noop_body
from redis import Redis
from rq import Queue

SPLIT = os.environ["BENCH_VARIANT"].startswith("split")
connection = Redis.from_url(os.environ["BENCH_URL"])
light = Queue("light", connection=connection)
heavy = Queue("heavy" if SPLIT else "light", connection=connection)


def put(kind: str, number: int, at_ns: int, mib: int, cpu_s: float) -> None:
    """Put one job in."""
    if kind == "heavy":
        heavy.enqueue(heavy_body, number, at_ns, mib, cpu_s, job_timeout=600)
    else:
        light.enqueue(noop_body if kind == "noop" else light_body, number, at_ns)
