"""Tasks that take memory until somebody ends them, and tasks that start processes without end.

Each attempt keeps in a file of its own what it holds, a step at a time, so that the file says what
it came to when it was killed; and each process its pid, so that none is overlooked.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from penstock import library_task
from penstock.executors.memory import read_resident
from penstock.executors.procfs import read_stat
from tests.chaos.tasks import QUICK, Report
from tests.support import history as h
from tests.support.attempt_log import logged

MIB = 2**20
ONES = b"x" * MIB
#: What a hog would take: more than four times the first limit, 160 MiB.
HOG_MIB = 704
#: How memory is taken: MiB in one piece, and seconds between two pieces.
PACES = {
    "steps": (16, 0.01),
    "leak": (2, 0.004),
    "program": (16, 0.01),
    "shared": (32, 0.01),
    "gulp": (HOG_MIB, 0.0),
}
Pattern = Literal["steps", "leak", "program", "shared", "gulp"]
Innocent = Literal["sigkill", "segfault", "exit_now"]
Bomb = Literal["tree", "daemon", "endless"]
#: Runs `take` in a program of the job's own.
PROGRAM = "import sys; from tests.chaos.hog_tasks import take; take(sys.argv[1], sys.argv[2])"
#: Processes that a bomb comes to; it bounds itself, so that a broken worker ends no machine.
BOMB_PROCESSES = 64
#: Longer than any test: what ends these processes is their worker.
FOR_EVER_S = 600.0


def folder() -> Path:
    """Return where the scenario's hogs write: beside the history."""
    return Path(os.environ[h.HISTORY_ENV]).parent


@contextmanager
def tally(name: str) -> Iterator[mmap.mmap]:
    """Open the file of an attempt, two numbers of 8 bytes that outlive the process."""
    file = folder() / f"{name}.held"
    if not file.exists():
        file.write_bytes(bytes(16))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 16) as numbers:
        yield numbers


def add(numbers: mmap.mmap, place: int, amount: int) -> None:
    """Add to a number: to 0 what the processes held at their start, to 1 what they took since."""
    (old,) = struct.unpack_from("q", numbers, 8 * place)
    struct.pack_into("q", numbers, 8 * place, old + amount)


def take(pattern: str, name: str) -> list[mmap.mmap]:
    """Take memory and touch it, a MiB at a time, as the pattern says; return it."""
    step_mib, pause_s = PACES[pattern]
    kind = mmap.MAP_SHARED if pattern == "shared" else mmap.MAP_PRIVATE
    held: list[mmap.mmap] = []
    now = read_resident()
    with tally(name) as numbers:
        add(numbers, 0, 0 if now is None else now.now_bytes)
        while len(held) * step_mib < HOG_MIB:
            block = mmap.mmap(-1, step_mib * MIB, flags=kind | mmap.MAP_ANONYMOUS)
            held.append(block)
            for start in range(0, len(block), MIB):
                block[start : start + MIB] = ONES
                add(numbers, 1, MIB)
            time.sleep(pause_s)
    return held


def _hog(pattern: Pattern) -> Report:
    with logged() as log:
        name = f"{log.job}.{log.attempt}"
        log.fault("hog")
        if pattern == "program":
            now = read_resident()
            with tally(name) as numbers:
                add(numbers, 0, 0 if now is None else now.now_bytes)
            program = subprocess.Popen([sys.executable, "-c", PROGRAM, pattern, name])
            note_pid(program.pid)
            program.wait()
        else:
            take(pattern, name)
        # Nobody has ended it: the limit is none.
        return log.result()


@library_task(backoff=QUICK, memory="128MiB")
def hog(pattern: Pattern) -> Report:
    """Take far more than the limit."""
    return _hog(pattern)


@library_task(backoff=QUICK, memory="128MiB", oom_retries=0)
def hog_once(pattern: Pattern) -> Report:
    """Take far more than the limit, and be dead the first time."""
    return _hog(pattern)


@library_task(backoff=QUICK, memory="128MiB")
def innocent(how: Innocent) -> Report:
    """Die in the first run for a reason that is not memory, far from the limit."""
    with logged() as log:
        if log.attempt == 1:
            log.fault(f"self_{how}")
            if how == "exit_now":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL if how == "sigkill" else signal.SIGSEGV)
        log.effect()
        return log.result()


def note_pid(pid: int) -> None:
    """Write down a process that must not outlive its job, with its start time."""
    stat = read_stat(pid)
    assert stat is not None
    with (folder() / "pids").open("a") as file:
        file.write(f"{pid} {stat.started_ticks}\n")


def noted(site_folder: Path) -> tuple[int, list[int]]:
    """Return how many processes were written down, and the pids of those that are alive."""
    file = site_folder / "pids"
    lines = file.read_text().splitlines() if file.exists() else []
    stats = [(read_stat(int(pid)), int(ticks)) for pid, ticks in map(str.split, lines)]
    alive = [one for one, ticks in stats if one is not None and one.started_ticks == ticks]
    return len(lines), [one.pid for one in alive if one.state not in "ZX"]


@library_task(backoff=QUICK, isolation="process", retries=0)
def bomb(how: Bomb) -> Report:
    """Start many processes that do not listen, and go on past the hard limit."""
    with logged() as log:
        log.fault(f"bomb_{how}")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note_pid(os.getpid())
        if how == "endless":
            _grow_for_ever()
        elif how == "tree":
            _grow(BOMB_PROCESSES - 1)
        elif os.fork() == 0:
            # Twice, so that its parent is gone, and in a session of its own.
            os.setsid()
            if os.fork() == 0:
                note_pid(os.getpid())
                time.sleep(FOR_EVER_S)
            os._exit(0)
        time.sleep(FOR_EVER_S)
        return log.result()


def _grow_for_ever() -> None:
    """Fork, and let every new process fork, at once again where one was killed.

    Only for workers whose processes somebody else has bounded.
    """
    while True:
        try:
            is_new = os.fork() == 0
        except OSError:
            continue
        if is_new:
            note_pid(os.getpid())


def _grow(count: int) -> None:
    """Start so many processes, each of which starts about half of what is left: a tree."""
    while count > 0:
        share = (count - 1) // 2
        if os.fork() == 0:
            if share % 2:
                os.setsid()
            note_pid(os.getpid())
            _grow(share)
            time.sleep(FOR_EVER_S)
            os._exit(0)
        count -= share + 1
