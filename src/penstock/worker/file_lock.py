"""Which process holds the write lock of an embedded broker's file.

A runner that is stopped, or whose interpreter is held by a job, while its broker thread stands
inside a transaction keeps the file locked for everybody: no lease could be extended any more.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

#: Files that SQLite locks for writing: the index of a WAL, and the database itself elsewhere.
_LOCKED_SUFFIXES: Final = ("-shm", "")


def write_lock_holders(database: Path) -> set[int]:
    """Return the processes of this pid namespace that hold a write lock on a database file.

    Cost: one read of /proc/locks, one line per lock of the host.
    """
    inodes = set()
    for suffix in _LOCKED_SUFFIXES:
        with contextlib.suppress(OSError):
            inodes.add(str(Path(f"{database}{suffix}").stat().st_ino))
    holders = set()
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        # 1: POSIX ADVISORY WRITE 7037 fe:00:2170948 120 120; a waiter's line has "->" after the 1:
        fields = line.split()
        if fields[1] == "POSIX" and fields[3] == "WRITE" and fields[5].split(":")[2] in inodes:
            holders.add(int(fields[4]))
    return holders
