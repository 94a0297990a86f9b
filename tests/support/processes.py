"""Real processes: walking their descendants, ending them by pidfd, finding what was left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


def descendants(pid: int) -> list[int]:
    """Return the pids below `pid`, children first, none if it is gone."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_alive(pid: int) -> bool:
    """Tell whether `pid` runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_stopped(pid: int) -> bool:
    """Return whether every thread of a process is stopped by a signal."""
    try:
        threads = [one / "stat" for one in Path(f"/proc/{pid}/task").iterdir()]
        states = {one.read_text().rpartition(")")[2].split()[0] for one in threads}
    except FileNotFoundError:
        # A thread has ended meanwhile.
        return False
    return states == {"T"}


def send(pids: Iterable[int], number: signal.Signals) -> list[int]:
    """Signal processes through pidfds and return those that were there to be hit.

    Race: between looking a pid up and signalling it the process may end and its number be given
    away; a pidfd opened first cannot hit a stranger once `is_alive` was true after opening it.
    """
    hit = []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            signal.pidfd_send_signal(fd, number)
            hit.append(pid)
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)
    return hit


def stop_tree(pid: int) -> list[int]:
    """SIGSTOP a process and everything below it, and return all of them.

    Top down, until no new descendant shows up: a stopped process starts no more of them.
    """
    stopped: list[int] = []
    while fresh := [one for one in (pid, *descendants(pid)) if one not in stopped]:
        send(fresh, signal.SIGSTOP)
        stopped += fresh
    return stopped


def kill_tree(pid: int, before: Callable[[list[int]], object] = len) -> list[int]:
    """SIGKILL a process and everything below it, so that none can do anything about it.

    All are stopped first: a supervisor that sees its runner die would act before its own turn.

    Args:
        pid: top of the tree.
        before: told the pids while they are stopped, just before they die.
    """
    stopped = stop_tree(pid)
    before(stopped)
    return send(stopped, signal.SIGKILL)


def marked(name: str, value: str) -> list[psutil.Process]:
    """Return the living processes whose environment holds `name=value`, this one not included.

    Descendants inherit the mark even when they were adopted by init, so nothing escapes it but a
    process that clears its environment.
    """
    found = []
    for process in psutil.process_iter():
        try:
            carries = process.environ().get(name) == value
            if carries and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    return found


def describe(process: psutil.Process) -> str:
    """Return one line on a process for failure messages."""
    try:
        with process.oneshot():
            command = " ".join(process.cmdline())[:120]
            return f"pid {process.pid} ppid {process.ppid()} {process.status()}: {command}"
    except psutil.NoSuchProcess:
        return f"pid {process.pid} has ended"


def open_files(folder: Path, pids: Iterable[int]) -> list[str]:
    """Return "pid path" for each descriptor of `pids` that points below `folder`."""
    found = []
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                target = link.readlink()
            except OSError:
                continue
            if target.is_relative_to(folder):
                found.append(f"{pid} {target}")
    return found
