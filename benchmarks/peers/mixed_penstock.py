"""Mixed work on Penstock. Light jobs are coroutines; of heavy ones the variant says what is told.

`hint`: memory is learned, with the size of the input; `blind`: learned without one; `declared`:
the task says that it needs a child; `plain`: a plain function of which nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import time

from mixed_work import LIGHT_S, heavy_body, mark, noop_body

from penstock import App

VARIANT = os.environ["BENCH_VARIANT"]
app = App(os.environ["BENCH_URL"], settings={"durability": "local"})


@app.task
async def light(number: int, at_ns: int) -> None:
    """Sleep for 20 ms."""
    began_ns = time.monotonic_ns()
    await asyncio.sleep(LIGHT_S)
    mark("light", number, at_ns, began_ns)


def size_of(number: int, at_ns: int, mib: int, cpu_s: float) -> float:
    """Tell how large the input is."""
    del number, at_ns, cpu_s
    return mib


if VARIANT == "hint":
    heavy = app.task(memory="auto", size=size_of)(heavy_body)
elif VARIANT == "blind":
    heavy = app.task(memory="auto")(heavy_body)
elif VARIANT == "declared":
    heavy = app.task(memory="256MiB")(heavy_body)
else:
    heavy = app.task(heavy_body)
noop = app.task(noop_body)


def put(kind: str, number: int, at_ns: int, mib: int, cpu_s: float) -> None:
    """Put one job in."""
    if kind == "heavy":
        heavy.enqueue(number, at_ns, mib, cpu_s)
    elif kind == "noop":
        noop.enqueue(number, at_ns)
    else:
        light.enqueue(number, at_ns)
