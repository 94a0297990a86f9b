"""The app of the memory tests: jobs that take memory, in steps, in one piece, or in programs."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

from penstock import App, current_job
from tests.support.trace import trace

app = App()
MIB = 2**20
#: Bytes that a hog takes at a time.
STEP_MIB = 16
#: Starts a program that takes so many MiB in steps, says so, and stays for a while.
PROGRAM = """
import sys, time
held = []
for _ in range(int(sys.argv[1]) // 16):
    held.append(bytearray(b"x" * (16 * 2**20)))
    time.sleep(0.002)
time.sleep(float(sys.argv[2]))
"""


def take(mib: int, step_mib: int = STEP_MIB) -> list[bytearray]:
    """Take memory and touch it, a step at a time."""
    return [bytearray(b"x" * (step_mib * MIB)) for _ in range(mib // step_mib)]


@app.task(memory="128MiB")
def hog(mib: int, seconds: float = 0.0, name: str = "hog") -> int:
    """Take so much in steps of 16 MiB and hold it for a while; return the pid."""
    trace(name, "begins", current_job().claim_number)
    held = take(mib)
    time.sleep(seconds)
    trace(name, "ends", len(held))
    return os.getpid()


def size_of(mib: int, _seconds: float = 0.0) -> float:
    """Return the size of a job's input."""
    return mib


@app.task(memory="auto", size=size_of)
def learned(mib: int, seconds: float = 0.0) -> int:
    """Take so much; what to reserve is learned by size."""
    held = take(mib)
    time.sleep(seconds)
    return len(held)


@app.task(memory="128MiB")
def gulp(mib: int) -> int:
    """Take so much in one piece."""
    held = bytearray(b"x" * (mib * MIB))
    time.sleep(5.0)
    return len(held)


@app.task(memory="128MiB")
def hog_in_program(mib: int, seconds: float) -> int:
    """Let a program of this job's take so much; what is left of it goes with the job."""
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(mib), str(seconds)])
    trace("program", program.pid)
    return program.wait()


@app.task(memory="128MiB", oom_retries=0)
def gulp_in_program(mib: int, path: str) -> None:
    """Once a file is there, let a program take so much in one piece; fail if it fails."""
    trace("gulp", "begins", os.getpid())
    while not Path(path).exists():
        time.sleep(0.02)
    program = subprocess.run(
        [sys.executable, "-c", f"bytearray(b'x') * ({mib} << 20)"], check=False
    )
    trace("gulp", "returned", program.returncode)
    program.check_returncode()


@app.task(isolation="process")
def leave_daemon() -> None:
    """Start a daemon that carries nothing of this job's, and die."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            trace("daemon", os.getpid())
            os.execve("/bin/sleep", ["sleep", "600"], {})  # noqa: S606 - as daemons do
        os._exit(0)
    os.wait()
    time.sleep(0.1)
    os._exit(3)


#: What leaky jobs of this process leave behind.
LEAKED: list[mmap.mmap] = []


@app.task(memory="128MiB")
def leaky(mib: int) -> int:
    """Leave so much in this process; return how many such jobs have run here."""
    # Not from the heap, which has holes of its own.
    block = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for _ in range(mib):
        block.write(b"x" * MIB)
    LEAKED.append(block)
    return len(LEAKED)


#: Small blocks that jobs of this process keep.
KEPT: list[bytes] = []


@app.task(memory="128MiB")
def punctured(mib: int) -> int:
    """Free so much again that lies below a block which stays; return the pid."""
    # The allocator serves large blocks from its heap once it has seen one of them freed.
    first = b"x" * (mib * MIB)
    del first
    large = b"x" * (mib * MIB - 4_096)
    KEPT.extend(b"x" * 65_536 for _ in range(4))
    del large
    return os.getpid()


@app.task(memory="128MiB")
def refuse() -> None:
    """Ask for more than there is."""
    raise MemoryError("asked for 1 EiB")


@app.task(isolation="process")
def undeclared(mib: int, seconds: float = 0.0) -> int:
    """Take so much without a word about it before."""
    held = take(mib)
    time.sleep(seconds)
    return len(held)


@app.task
async def light(name: str) -> None:
    """Do next to nothing."""
    trace(name, "light")


@app.task(memory="128MiB")
def wait_for(path: str, name: str) -> None:
    """Hold what is reserved until a file is there."""
    trace(name, "begins", current_job().claim_number)
    while not Path(path).exists():
        time.sleep(0.02)
    trace(name, "ends", 0)


#: Reads its arguments from stdin too, tells progress, and ends as it is asked to.
SCRIPT = """
import json, sys, time
given = json.load(sys.stdin)
print("words", sys.argv[1:], "given", given)
print('::progress ' + json.dumps(dict(done=1)), flush=True)
print("a problem", file=sys.stderr)
time.sleep(float(given["seconds"]))
sys.exit(int(sys.argv[1]))
"""
program = app.command(
    "program", [sys.executable, "-c", SCRIPT, "{status}", "path={path}", "{seconds}"], retries=1
)
program_that_takes = app.command(
    "program_that_takes", [sys.executable, "-c", PROGRAM, "{mib}", "5"], memory="128MiB"
)
