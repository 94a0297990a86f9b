"""The bodies of mixed work, and how they leave a mark; the same for every contestant."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: File that every body appends one line to.
MARKS = Path(os.environ.get("BENCH_MARKS", ".")) / "marks"
LIGHT_S = 0.02


def mark(kind: str, number: int, at_ns: int, began_ns: int) -> None:
    """Append: kind, number, when it was put in, when its body began and ended (CLOCK_MONOTONIC)."""
    line = f"{kind} {number} {at_ns} {began_ns} {time.monotonic_ns()} {os.getpid()}\n"
    # One write of few bytes: lines of many processes do not mix.
    descriptor = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def light_body(number: int, at_ns: int) -> None:
    """Sleep for 20 ms."""
    began_ns = time.monotonic_ns()
    time.sleep(LIGHT_S)
    mark("light", number, at_ns, began_ns)


def noop_body(number: int, at_ns: int) -> None:
    """Do nothing."""
    mark("noop", number, at_ns, time.monotonic_ns())


def heavy_body(number: int, at_ns: int, mib: int, cpu_s: float) -> None:
    """Touch so much memory, hold it, and use so much processor time."""
    began_ns = time.monotonic_ns()
    mark("began", number, at_ns, began_ns)
    used_s = time.thread_time()
    held = bytearray(b"\x01") * (mib * 2**20)
    while time.thread_time() - used_s < cpu_s:
        sum(range(10_000))
    del held
    mark("heavy", number, at_ns, began_ns)
