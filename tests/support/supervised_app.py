"""The app of the supervisor's tests: jobs that end, hang, crash, and leave processes behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from penstock import App, Exponential, current_job
from tests.support.trace import trace

if os.environ.get("PENSTOCK_CHILD") and os.environ.get("SUPERVISED_BREAK_CHILDREN"):
    raise RuntimeError("this app is asked to fail in children")

app = App()
QUICK = Exponential(base="20ms", cap="50ms", jitter="none")


def begin(name: str) -> None:
    """Write that an attempt has begun: name, claim number, pid."""
    trace(name, current_job().claim_number, os.getpid())


@app.task(backoff=QUICK)
async def wait(seconds: float, name: str = "wait") -> int:
    """Sleep as a coroutine; return the pid."""
    begin(name)
    await asyncio.sleep(seconds)
    trace(f"{name}-done", os.getpid())
    return os.getpid()


@app.task(retries=0, timeout=0, soft_timeout=0)
async def unlimited(seconds: float) -> None:
    """Sleep for as long as it likes, whatever the settings say."""
    await asyncio.sleep(seconds)


@app.task(backoff=QUICK)
def work(seconds: float, name: str = "work") -> int:
    """Sleep in a thread, in small steps; return the pid."""
    begin(name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    trace(f"{name}-done", os.getpid())
    return os.getpid()


@app.task(retries=0)
def fail_late(seconds: float, name: str = "fails") -> None:
    """Sleep in a thread, and raise."""
    begin(name)
    time.sleep(seconds)
    raise ConnectionError("the far end does not answer")


@app.task(backoff=QUICK)
def burn(seconds: float) -> int:
    """Hold the CPU for so many seconds of its time; return the pid."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


@app.task(backoff=QUICK, retries=0)
def sleep_deaf(seconds: float, name: str = "deaf") -> None:
    """Sleep in one call into C: nothing can be raised into it."""
    begin(name)
    time.sleep(seconds)


@app.task(backoff=QUICK, retries=0)
def hold_gil(seconds: float, name: str = "gil") -> None:
    """Call C code that never lets another thread of the process run."""
    begin(name)
    # One call into C, of about a hundred million steps a second, that gives nobody a turn.
    sum(range(int(seconds * 100_000_000)))


@app.task(backoff=QUICK, retries=0)
async def swallow(seconds: float, name: str = "swallow") -> None:
    """Ignore every interruption."""
    begin(name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0.05)


@app.task(backoff=QUICK)
def kill_own_process(times: int = 99, name: str = "poison") -> int:
    """SIGKILL the process that it runs in, in the first `times` attempts."""
    begin(name)
    if current_job().claim_number <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@app.task(backoff=QUICK, isolation="process")
def lone(seconds: float = 0.0, name: str = "lone") -> int:
    """Sleep alone in a child; return the pid."""
    begin(name)
    time.sleep(seconds)
    trace(f"{name}-done", os.getpid())
    return os.getpid()


@app.task(isolation="process")
def lone_niceness() -> list[int]:
    """Return how nice this process is, and its session as the kernel sees it, where it does."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    session = Path("/proc/self/autogroup")
    return [own, int(session.read_text().split()[-1]) if session.exists() else own]


@app.task(isolation="process")
def lone_leaks_files() -> int:
    """Leave two files open in the child; return the pid."""
    for _ in range(2):
        os.open(os.devnull, os.O_RDONLY)
    return os.getpid()


@app.task(backoff=QUICK, isolation="process")
def lone_swallow(seconds: float, name: str = "lone-swallow") -> None:
    """Ignore every interruption, alone in a child."""
    begin(name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            time.sleep(0.05)


@app.task(backoff=QUICK, isolation="process", retries=0)
def lone_end(how: str, times: int = 1) -> int:
    """End the child in one of many ways, in the first `times` attempts."""
    begin("end")
    if current_job().claim_number > times:
        return os.getpid()
    match how:
        case "exit":
            os._exit(3)
        case "exit_zero":
            os._exit(0)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "close_files":
            os.closerange(0, 1024)
            time.sleep(600)
    raise AssertionError(how)


@app.task(backoff=QUICK, isolation="process", retries=0)
def lone_leaves(seconds: float, name: str = "leaver") -> None:
    """Start programs that leave the group, the session and their parents, then sleep."""
    begin(name)
    code = "import os,time; os.fork() or time.sleep(600)"
    plain = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    # Forks twice in a session of its own: its parent is gone before anybody looks.
    subprocess.run(
        [sys.executable, "-c", f"import os; os.setsid(); os.fork() and os._exit(0); {code}"],
        check=True,
        timeout=30,
    )
    trace(f"{name}-started", plain.pid)
    time.sleep(seconds)


@app.task
def log_line(who: str) -> None:
    """Write a line to the log."""
    logging.getLogger("supervised").info("%s was here", who)


@app.task(isolation="process")
def lone_log_line(who: str) -> None:
    """Write a line to the log of a child."""
    logging.getLogger("supervised").info("%s was here", who)


@app.task
def leave_orphan() -> None:
    """Start a program whose parent ends at once, so that whoever adopts orphans gets it."""
    code = (
        "import os, sys, time; pid = os.fork(); pid and (print(pid), sys.exit()); time.sleep(600)"
    )
    with Path(os.environ["SUPERVISED_TRACE"] + "-orphan").open("w+") as file:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=file, timeout=30)
        file.seek(0)
        trace("orphan", int(file.read()))


def _privileges() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("NoNewPrivs:"))


@app.task
def may_gain() -> str:
    """Return "0" where a program started here may gain privileges."""
    return _privileges()


@app.task(isolation="process")
def lone_may_gain() -> str:
    """Return "0" where a program started in a child may gain privileges."""
    return _privileges()


@app.task(isolation="process")
def lone_score() -> str:
    """Return how likely a victim of the kernel a program is that a child starts."""
    return subprocess.run(
        ["cat", "/proc/self/oom_score_adj"], capture_output=True, text=True, check=True
    ).stdout.strip()


@app.on_runner_start
def start_hook() -> None:
    """Fail for as long as the test wants it to."""
    if Path(os.environ.get("SUPERVISED_TRACE", "") + "-broken").exists():
        raise RuntimeError("this hook is asked to fail")


@app.task(isolation="process")
def lone_environment() -> dict[str, str]:
    """Return the environment that user code sees in a child."""
    return dict(os.environ)


@app.task(isolation="process")
def lone_enqueues(count: int) -> list[str]:
    """Enqueue from a child; return the ids."""
    current_job().progress({"count": count})
    current_job().log("enqueuing")
    return [str(wait.enqueue(0.0).id) for _ in range(count)]


@app.task(isolation="process", backoff=QUICK)
def lone_checkpoints() -> int:
    """Crash once after a checkpoint; return what the next attempt finds."""
    job = current_job()
    found = job.last_checkpoint(int)
    if job.claim_number == 1:
        job.checkpoint(41)
        # What is kept goes over a pipe; the last moment before a crash may be lost with it.
        time.sleep(0.5)
        os._exit(1)
    return -1 if found is None else found + 1
