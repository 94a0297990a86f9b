"""The app of the library's tests with a real worker: what a task's options and context do there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from penstock import App, Exponential, current_job, library_task

app = App(settings={"poll": "200ms", "payload_bytes_max": "3MiB", "result_bytes_max": "2MiB"})
QUICK = Exponential(base="10ms", cap="20ms", jitter="none")


@app.task
def notice(job_id: str, reason: str, error: str | None) -> dict[str, Any]:
    """Return what an on_dead task is told."""
    return {"job_id": job_id, "reason": reason, "error": error}


@app.task(retries=1, backoff=QUICK, on_dead=notice)
def dies_in_thread() -> None:
    """Fail in every attempt."""
    raise ValueError("in a thread")


@app.task(retries=1, backoff=QUICK, on_dead=notice)
async def dies_in_loop() -> None:
    """Fail in every attempt."""
    raise ValueError("in a loop")


@app.task(retries=0, isolation="process", on_dead=notice)
def dies_in_child() -> None:
    """Fail in a child."""
    raise ValueError("in a child")


class Order(msgspec.Struct):
    """An argument and a result."""

    number: int
    paper: Path


@app.task
def typed(order: Order, *more: Order, **named: Order) -> list[Order]:
    """Return its arguments."""
    return [order, *more, *named.values()]


@app.task
async def fan_out(depth: int) -> list[str]:
    """Enqueue two jobs of itself from a coroutine, in one round trip, and one from sync code."""
    if depth == 0:
        return []
    jobs = await app.aenqueue_many([fan_out.call(depth - 1), fan_out.call(depth - 1)])
    return [job.id for job in (*jobs, halve.enqueue(depth))]


@app.task(isolation="process")
def fan_out_of_child(depth: int) -> str:
    """Enqueue from a child, over the pipe."""
    return fan_out.using(priority=9).enqueue(depth).id


@library_task(queue="library")
def halve(n: int) -> float:
    """Return half the number."""
    return n / 2 * current_job().attempt


@app.task
def swell(text: str, size: int, *, isolated: bool = False) -> str:
    """Return the text so many times; enqueue a large job on the way."""
    if isolated:
        swell_alone.enqueue(text, size)
    return text * size


@app.task(isolation="process")
def swell_alone(text: str, size: int) -> str:
    """The same in a child."""
    return text * size


app.include(halve)
