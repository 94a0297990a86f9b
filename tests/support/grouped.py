"""A process in a memory group of its own: told what to hold, and asked what the group saw."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from penstock.executors.cgroups import V1, Place, find_place, make_way
from penstock.executors.memory import resident_bytes
from penstock.executors.memory_group import MemoryGroup
from penstock.executors.procfs import signal_all
from tests.support.eventually import eventually

MIB = 2**20
#: Runs one line of Python after the other, and answers each with a line.
PROGRAM = """
import mmap, os, subprocess, sys, time
MIB = 2**20
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""
NUMBERS = itertools.count(1)


class Grouped:
    """A process, and its group."""

    def __init__(self, group: MemoryGroup, process: subprocess.Popen[str]) -> None:
        """Take a process that was just started into a new group."""
        self.group = group
        self.process = process
        group.take_in(process.pid)
        self.do("pass")

    def do(self, code: str) -> None:
        """Let it run a line of code, and return once it has, or has died of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def begin(self, hard_bytes: int | None = None) -> bool:
        """Begin an attempt."""
        return self.group.begin(hard_bytes, resident_bytes(self.process.pid))


def divided_place() -> Place:
    """Return the group of this process, ready to be divided; the process may move below it."""
    place = find_place()
    make_way(place, f"penstock-test.{os.getpid()}.session")
    return place


class Home(NamedTuple):
    """A group in which a worker can make groups.

    Attributes:
        folder: of the group.
        under: command that runs another one in it.
    """

    folder: Path
    under: tuple[str, ...]


@contextmanager
def home_in(place: Place, limit_bytes: int | None = None) -> Iterator[Home]:
    """Return a home for one worker after the other; with version 2 each must be alone in it.

    Args:
        place: below which it is made; with version 1 and no limit it is the place itself.
        limit_bytes: of all that is in it together, as a container has; None: it has none.
    """
    if place.version == V1 and limit_bytes is None:
        yield Home(place.folder, ())
        return
    folder = place.folder / f"penstock-test.{os.getpid()}.{next(NUMBERS)}"
    folder.mkdir()
    enter = f"echo $$ > {folder}/cgroup.procs"
    if place.version != V1:
        enter = f'echo "-memory" > {folder}/cgroup.subtree_control; {enter}'
    if limit_bytes is not None:
        name = "memory.limit_in_bytes" if place.version == V1 else "memory.max"
        (folder / name).write_text(str(limit_bytes))
    yield Home(folder, ("sh", "-c", f'{enter} && exec "$@"', "sh"))
    eventually(lambda: is_removed(folder), within_s=10, what=f"{folder} to be removed")


def is_removed(folder: Path) -> bool:
    """Remove a group and those below it, if nothing is in them any more."""
    for group in (*folder.glob("*/"), folder):
        with contextlib.suppress(OSError):
            group.rmdir()
    return not folder.exists()


def is_emptied(group: MemoryGroup) -> bool:
    """Kill who is in a group and remove it if nobody is; who was just forked is found next time."""
    signal_all(group.members(), signal.SIGKILL)
    return group.remove()


@contextmanager
def grouped(place: Place) -> Iterator[Grouped]:
    """Start a process in a group; both are gone in the end."""
    group = MemoryGroup(place, f"penstock-test.{os.getpid()}.{next(NUMBERS)}")
    command = [sys.executable, "-c", PROGRAM]
    settings: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **settings) as process:
        try:
            yield Grouped(group, process)
        finally:
            process.kill()
            process.wait()
            eventually(lambda: is_emptied(group), within_s=10, what="the group to be removed")
