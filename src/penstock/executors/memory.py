"""What processes take of memory, as the kernel tells it in /proc.

`VmHWM` is the mark of a process alone: the most that was ever resident at once, since it was set
back through `clear_refs`. What a whole family holds at one moment is summed; pages that several of
them share are counted for each, so that the sum is never too small.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from .procfs import children_of

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_KIB: Final = 1024
#: Written to clear_refs it sets the mark back to what is resident now (proc(5)).
_RESET_PEAK: Final = b"5"
#: Processes of one family that are looked at; a fork bomb must not stop the watch.
_FAMILY_MAX: Final = 512


class Resident(NamedTuple):
    """Resident memory of a process: now, and at most since its mark was set back.

    Of what is resident now, `file_bytes` are pages of mapped files.
    """

    now_bytes: int
    peak_bytes: int
    file_bytes: int


def reset_own_peak() -> bool:
    """Set this process's mark back to what is resident now; return whether the kernel lets us.

    Cost: some 50 us.
    """
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, _RESET_PEAK)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def give_back_freed() -> None:
    """Give the kernel the pages that this process has freed and its allocator keeps.

    glibc keeps what lies below a block in use, and after large blocks up to 64 MiB at its end.
    Where the C library has no such call, nothing happens.

    Cost: 0.1 ms where there is little, 4 ms for 200 MiB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def read_resident(pid: int | str = "self") -> Resident | None:
    """Return what a process holds and held at most; None if there is none. Cost: some 50 us."""
    found: dict[bytes, int] = {}
    try:
        text = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith((b"VmHWM:", b"VmRSS:", b"RssFile:")):
            name, value = line.split()[:2]
            found[name] = int(value) * _KIB
    # A zombie has no such lines.
    return Resident(*(found.get(name, 0) for name in (b"VmRSS:", b"VmHWM:", b"RssFile:")))


def resident_bytes(pid: int) -> int:
    """Return what a process holds now, 0 if there is none. Cost: some 25 us."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:  # noqa: PTH123 - hot
            return int(file.read(128).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def descendants(pid: int) -> list[int]:
    """Return `pid` and what descends from it, without those that left for another parent.

    Cost: two small reads for each thread; the whole process table is not looked at.
    """
    found: list[int] = []
    left = [pid]
    while left and len(found) < _FAMILY_MAX:
        one = left.pop()
        found.append(one)
        left += children_of(one)
    return found


def group_bytes(pids: Iterable[int]) -> int:
    """Return what these processes hold together now."""
    return sum(map(resident_bytes, pids))
