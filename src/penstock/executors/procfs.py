"""What the kernel says about processes in /proc, and who descends from whom."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

#: Bytes read of an environment: the mark stands early, and a huge one must not cost memory.
_ENVIRON_BYTES_MAX = 256 * 1024
#: Bytes read of a thread's children. The kernel gives a page of whole numbers at a time: some
#: hundred children, and more are not needed to know that there are some, or too many.
_CHILDREN_BYTES_MAX = 64 * 1024


class ProcStat(NamedTuple):
    """The fields of /proc/PID/stat that are used here.

    Attributes:
        state: R running, S sleeping, D in the kernel, T stopped, t traced, Z zombie, X gone.
        group: number of its process group.
        started_ticks: clock ticks since boot, which tells a reused pid apart.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started_ticks: int

    @property
    def is_alive(self) -> bool:
        """Whether it can still do anything."""
        return self.state not in "ZX"


class Holdings(NamedTuple):
    """What a process holds at one moment.

    Attributes:
        resident_bytes: of its memory, those in RAM, shared libraries among them.
        descriptors: its open files and sockets.
    """

    resident_bytes: int
    descriptors: int


def read_holdings(pid: int) -> Holdings | None:
    """Return what `pid` holds, None if that cannot be seen. Cost: some tens of us."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        with os.scandir(f"/proc/{pid}/fd") as entries:
            descriptors = sum(1 for _ in entries)
    except OSError:
        return None
    return Holdings(pages * os.sysconf("SC_PAGE_SIZE"), descriptors)


def read_stat(pid: int, *, proc: str = "/proc") -> ProcStat | None:
    """Return what /proc says about `pid`, None if it says nothing.

    Either there is no such process, or it is another user's and hidden (hidepid): `exists` tells.
    """
    try:
        text = Path(f"{proc}/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command stands in brackets and may itself hold spaces and brackets.
    fields = text[text.rindex(b")") + 2 :].split()
    numbers = [int(fields[place]) for place in (1, 2, 3, 19)]
    return ProcStat(pid, fields[0].decode(), *numbers)


def children_of(pid: int) -> list[int]:
    """Return the processes that `pid` has started and not waited for, zombies among them.

    Of a thread that has started very many only the first hundreds.

    Cost: two small reads for each thread, some 6 us for one that has three.
    """
    found: list[int] = []
    threads = f"/proc/{pid}/task"
    with contextlib.suppress(OSError):
        for thread in os.listdir(threads):  # noqa: PTH208 - hot
            with contextlib.suppress(OSError):
                fd = os.open(f"{threads}/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    found += map(int, os.read(fd, _CHILDREN_BYTES_MAX).split())
                finally:
                    os.close(fd)
    return found


def exists(pid: int) -> bool:
    """Tell whether there is a process of this number, seen in /proc or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def all_stats(*, proc: str = "/proc") -> dict[int, ProcStat]:
    """Return every process that can be seen. Cost: about 20 us a process."""
    with os.scandir(proc) as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return {pid: stat for pid in pids if (stat := read_stat(pid, proc=proc)) is not None}


def carries(pid: int, mark: str) -> bool:
    """Tell whether `NAME=value` stands in the environment that `pid` was started with."""
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            return mark.encode() in file.read(_ENVIRON_BYTES_MAX).split(b"\0")
    except OSError:
        return False


def environment_value(pid: int, name: str) -> str | None:
    """Return a variable of the environment that `pid` was started with; None: it has none."""
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            words = file.read(_ENVIRON_BYTES_MAX).split(b"\0")
    except OSError:
        return None
    begin = name.encode() + b"="
    found = (word.removeprefix(begin) for word in words if word.startswith(begin))
    value = next(found, None)
    return None if value is None else value.decode(errors="replace")


def family(stats: Mapping[int, ProcStat], *, root: int, mark: str, adopter: int) -> set[int]:
    """Return the living processes that `root` started, itself left out.

    Three traces are followed, because each can be shaken off: descent, the session, and, among
    those that `adopter` (a subreaper) inherited, the mark in the environment.

    Args:
        stats: all processes, see `all_stats`.
        root: the process whose family it is; it may be dead.
        mark: `NAME=value` that only this family carries.
        adopter: the process that inherits orphans.
    """
    adopted = (one for one in stats.values() if one.parent == adopter and one.pid != root)
    heads = {root} | {one.pid for one in stats.values() if one.session == root}
    heads |= {one.pid for one in adopted if one.state != "Z" and carries(one.pid, mark)}
    members = descending(stats.values(), heads)
    return {pid for pid in members if pid != root and stats[pid].is_alive}


def descending(stats: Iterable[ProcStat], heads: Iterable[int]) -> set[int]:
    """Return those of `stats` that are among `heads` or descend from them."""
    children: dict[int, list[int]] = {}
    present: set[int] = set()
    for stat in stats:
        present.add(stat.pid)
        children.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    left = list(heads)
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children.get(pid, ())
    return found & present


def signal_all(members: Iterable[ProcStat], number: int) -> None:
    """Send a signal to each of these processes that is still the same one.

    A pidfd opened first pins the process, the start time then says that it is the one meant.
    """
    for stat in members:
        with contextlib.suppress(OSError), _pidfd(stat.pid) as fd:
            now = read_stat(stat.pid)
            if now is not None and now.started_ticks == stat.started_ticks:
                signal.pidfd_send_signal(fd, number)


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)
