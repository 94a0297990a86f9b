"""Which process holds the write lock of an embedded broker's file.

A runner that is stopped, or whose interpreter is held by a job, while its broker thread stands
inside a transaction keeps the file locked for everybody: no lease could be extended any more.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

#: Files that SQLite locks for writing: the index of a WAL, and the database itself elsewhere.
_LOCKED_SUFFIXES: Final = ("-shm", "")


def write_lock_holders(database: Path) -> set[int]:
    """Return the processes of this pid namespace that hold a write lock on a database file.

    Cost: one read of /proc/locks, one line per lock of the host, and one of the mounts per file.
    """
    files = set()
    for suffix in _LOCKED_SUFFIXES:
        with contextlib.suppress(OSError):
            files.add(_as_locked(Path(f"{database}{suffix}")))
    holders = set()
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        # 1: POSIX ADVISORY WRITE 7037 fe:00:2170948 120 120; a waiter's line has "->" after the 1:
        fields = line.split()
        if fields[1] == "POSIX" and fields[3] == "WRITE" and fields[5] in files:
            holders.add(int(fields[4]))
    return holders


def _as_locked(path: Path) -> str:
    """Return a file as /proc/locks names it: the device of its file system in hex, and its inode.

    That device is asked of the mount, for where one file system holds several volumes (btrfs)
    `st_dev` is another number. Source: proc_locks(5) and proc_pid_mountinfo(5).
    """
    # Hazard: closing a descriptor would drop the locks that this process has on the file; one
    # opened with O_PATH has none to drop.
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        facts = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    finally:
        os.close(fd)
    major, minor = os.major(found.st_dev), os.minor(found.st_dev)
    mount = next((line.split()[1] for line in facts if line.startswith("mnt_id:")), None)
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        number, _, device, *_ = line.split(" ", 3)
        if number == mount:
            major, minor = (int(part) for part in device.split(":"))
    return f"{major:02x}:{minor:02x}:{found.st_ino}"
