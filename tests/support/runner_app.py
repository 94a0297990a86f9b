"""The app of the tests of runners and children: jobs that look, wait and misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from penstock import App, Exponential, current_job

app = App()
QUICK = Exponential(base="1ms", cap="1ms", jitter="none")
log = logging.getLogger("user")


def is_there(path: str) -> bool:
    """Tell whether a file is there."""
    return Path(path).exists()


def wait_for(path: str) -> None:
    """Return once a file is there."""
    while not is_there(path):
        time.sleep(0.005)


def trace(path: str, *words: object) -> None:
    """Append one line to a file."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    os.close(fd)


@app.on_runner_start
async def start_hook() -> None:
    """Say that it ran; fail where the environment says so."""
    if "RUNNER_TRACE" in os.environ:
        trace(os.environ["RUNNER_TRACE"], "start")
    if "RUNNER_HOOK_FAILS" in os.environ:
        raise RuntimeError("no model here")


@app.on_runner_stop
def stop_hook() -> None:
    """Say that it ran."""
    if "RUNNER_TRACE" in os.environ:
        trace(os.environ["RUNNER_TRACE"], "stop")


@app.task
async def add(a: int, b: int) -> int:
    """Return a sum, as a coroutine."""
    return a + b


@app.task
def multiply(a: int, b: int) -> int:
    """Return a product, in a thread."""
    return a * b


@app.task(backoff=QUICK, retries=2)
async def fail(times: int) -> int:
    """Fail in the first attempts."""
    if current_job().attempt <= times:
        raise ValueError(f"attempt {current_job().attempt}")
    return current_job().attempt


@app.task(backoff=QUICK)
async def hold(began: str, until: str) -> str:
    """Say that it has begun, then wait for a file, as a coroutine."""
    trace(began, "began", current_job().claim_number)
    while not is_there(until):  # noqa: ASYNC110 - the event comes from another process
        await asyncio.sleep(0.005)
    return "held"


@app.task(backoff=QUICK)
def hold_thread(began: str, until: str) -> str:
    """Say that it has begun, then wait for a file, in a thread."""
    trace(began, "began", current_job().claim_number)
    wait_for(until)
    return "held"


@app.task(backoff=QUICK, retries=0)
async def deaf(began: str, until: str) -> str:
    """Swallow every interruption until a file is there, as a coroutine."""
    trace(began, "began")
    while not is_there(until):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0.005)
    return "deaf"


@app.task(retries=0)
async def block(began: str, until: str) -> None:
    """Block the event loop until a file is there."""
    trace(began, "began")
    wait_for(until)


@app.task(retries=0)
def exits(kind: str) -> None:
    """End what it can of its process."""
    match kind:
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "_exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "close":
            os.closerange(3, 256)


@app.task(retries=0)
async def background_exit() -> str:
    """Let a task of its own raise SystemExit in the loop, and stop the loop."""

    async def leave() -> None:
        sys.exit(5)

    leaving = asyncio.ensure_future(leave())
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
    await asyncio.sleep(0.01)
    leaving.exception()
    return "alive"


@app.task(retries=0)
async def cancel_self() -> str:
    """Cancel the task that runs this, and await nothing more."""
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
    return "returned"


@app.task(retries=0)
async def report(value: Any, line: str, checkpoint: Any) -> Any:
    """Use all the notes, and return what an earlier attempt left."""
    job = current_job()
    left = job.last_checkpoint()
    job.progress(value)
    job.log(line + "\udc80")
    job.checkpoint(checkpoint)
    return left


@app.task(retries=0)
def report_thread(began: str, until: str) -> None:
    """Write progress very often, then a checkpoint that is confirmed, in a thread."""
    for number in range(2_000):
        current_job().progress(number)
    current_job().checkpoint({"at": 1})
    trace(began, "kept")
    wait_for(until)
    current_job().checkpoint({"at": 2})


@app.task(retries=0)
async def enqueue_more(count: int) -> list[str]:
    """Enqueue from a running job, plainly and awaited."""
    ids = [str(add.enqueue(1, number).id) for number in range(count)]
    return [*ids, str((await add.aenqueue(2, 2)).id)]


@app.task(retries=0)
def enqueue_more_thread(count: int) -> list[str]:
    """Enqueue from a running plain job."""
    return [str(add.enqueue(1, number).id) for number in range(count)]


@app.task(retries=0)
def say(line: str) -> str:
    """Write a log line of its own; return the thread's name."""
    log.warning(line)
    return threading.current_thread().name


@app.task(retries=0, soft_timeout="100ms")
def nap(began: str, seconds: float) -> str:
    """Sleep in one system call."""
    trace(began, "began")
    time.sleep(seconds)
    return "rested"


@app.task(retries=0)
def own_loop() -> int:
    """Run an event loop of its own, as plain code may."""
    return asyncio.run(_three())


async def _three() -> int:
    return 3


@app.task(retries=0)
def look() -> dict[str, Any]:
    """Return what user code sees of its process."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "is_main": threading.current_thread() is threading.main_thread(),
        "umask": umask,
        "penstock": sorted(name for name in os.environ if name.startswith("PENSTOCK_")),
    }


@app.task(retries=0, timeout="150ms")
async def limited(began: str) -> None:
    """Wait for longer than its hard limit."""
    trace(began, "began")
    await asyncio.sleep(60)


@app.task(isolation="process")
def lone() -> int:
    """Ask for a child."""
    return os.getpid()
