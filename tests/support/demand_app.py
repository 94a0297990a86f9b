"""The app of the tests of CPUs, labels, resources and GPUs: jobs hold and tell what they got."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from penstock import App, current_job
from tests.support.trace import trace

app = App()


class OutOfMemoryError(RuntimeError):
    """As PyTorch raises it: told by its name and the name of its module."""


OutOfMemoryError.__module__ = "torch"


@app.task(isolation="process")
def tell() -> dict[str, str]:
    """Return the environment of the child, and its pid."""
    return {**os.environ, "pid": str(os.getpid())}


@app.task(isolation="process")
def tell_again() -> dict[str, str]:
    """As `tell`, of another task."""
    return {**os.environ, "pid": str(os.getpid())}


@app.task(isolation="process")
def hold(path: str, name: str) -> str:
    """Hold what was set aside until a file is there; return the GPUs that are seen."""
    trace(name, "begins", current_job().claim_number)
    while not Path(path).exists():
        time.sleep(0.02)
    trace(name, "ends")
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


@app.task(isolation="process", retries=1)
def run_out(times: int) -> int:
    """Run out of a GPU's memory in the first attempts; return the number of the next."""
    number = current_job().claim_number
    if number <= times:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return number


@app.task(isolation="process")
def use(name: str, taken_mib: int, hold_s: float) -> str:
    """Say that a part of a GPU is used, for a while; return the GPUs that are seen."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    trace("uses", os.getppid(), seen, taken_mib, name)
    time.sleep(hold_s)
    trace("leaves", os.getppid(), seen, taken_mib, name)
    return seen


@app.task(isolation="process")
def stay() -> int:
    """Keep the child from ending by itself; return its pid."""
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


@app.task(isolation="process")
def is_there(pid: int) -> bool:
    """Return whether a process is there."""
    return Path(f"/proc/{pid}").exists()
