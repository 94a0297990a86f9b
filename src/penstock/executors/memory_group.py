"""One control group for one child: what it holds, how much it may, what the kernel killed in it.

A group counts what its processes touch first: anonymous memory, files in memory (shmem, tmpfs), the
kernel's own for them, and the page cache of files that they read and write. The kernel gives up the
cache before it kills, so that a job does not need it: what counts here is everything but that.

The kernel keeps a mark of the most that was charged, with the cache in it, and none of the rest.
Of the mark the largest cache that was seen is taken off; what was seen at looks is the other
witness, and the larger of the two is the peak. Neither can be more than what was really held.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final, NamedTuple

from .cgroups import V1, Place
from .kernel_table import value_in
from .procfs import ProcStat, read_stat

#: Bytes of a file of the kernel that are read; the longest, memory.stat, has some 3,000.
_READ_BYTES: Final = 16_384
_STAT: Final = "memory.stat"
#: Limits are rounded down to a multiple of it.
_STEP_BYTES: Final = 2**20
#: Written into a limit: none.
_NO_LIMIT_V1: Final = b"-1"
_NO_LIMIT_V2: Final = b"max"


class _Names(NamedTuple):
    """What the files of a version are called, and the fields of memory.stat that can be given up.

    Attributes:
        usage: all that is charged.
        mark: the most that was charged.
        kills: where processes of the group are counted that the kernel killed for memory.
        limit: in bytes.
        spare: fields of memory.stat that the kernel gives up before it kills.
    """

    usage: str
    mark: str
    kills: str
    limit: str
    spare: tuple[bytes, ...]


_V1_NAMES: Final = _Names(
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
    "memory.limit_in_bytes",
    (b"total_inactive_file", b"total_active_file"),
)
_V2_NAMES: Final = _Names(
    "memory.current",
    "memory.peak",
    "memory.events",
    "memory.max",
    (b"inactive_file", b"active_file", b"slab_reclaimable"),
)


class Taken(NamedTuple):
    """What a group saw of one attempt.

    Attributes:
        baseline_bytes: what it held before.
        peak_bytes: the most that it held, the page cache left out.
        kills: of its processes, by the kernel, for want of memory.
        at_limit: it was the group's own limit that left no memory, and not that of a group above or
            the machine; False with version 1, which does not tell.
    """

    baseline_bytes: int
    peak_bytes: int
    kills: int
    at_limit: bool = False


class MemoryGroup:
    """The group of one child, from its making to its removal. Belongs to the event loop.

    The files are kept open: a look costs some 10 us, a tenth of one at the files of /proc.
    """

    def __init__(self, place: Place, name: str) -> None:
        """Make an empty group.

        Raises:
            OSError: the kernel refused.
        """
        self.folder = place.folder / name
        self._is_v1 = place.version == V1
        self._names = _V1_NAMES if self._is_v1 else _V2_NAMES
        self._files: dict[str, int] = {}
        self.folder.mkdir()
        try:
            for file in (self._names.usage, _STAT, self._names.kills):
                self._files[file] = self._open(file, os.O_RDONLY)
        except OSError:
            self.remove()
            raise
        self._open_mark()
        self._write_if_there("memory.oom.group", b"1")
        self._write_if_there("memory.swap.max", b"0")
        # A limit that is being set in a thread, and one that is set in the loop, one by one.
        self._setting = threading.Lock()
        self._hard_bytes: int | None = None
        self._standing = b""
        self._kills_before = self._ooms_before = self._mark_before = self._baseline = 0
        self._held_most = self._spare_most = self._outside = 0

    def take_in(self, pid: int) -> None:
        """Move a process here; what it starts from now on belongs here too. Blocks for some 15 ms.

        What it has touched so far stays charged where it was: take it in before it has begun.

        Raises:
            OSError: there is no such process, or the kernel refused.
        """
        (self.folder / "cgroup.procs").write_text(str(pid))

    def begin(self, hard_bytes: int | None, resident_bytes: int) -> bool:
        """Begin to measure an attempt that may hold `hard_bytes` at most; None: as it likes.

        Args:
            hard_bytes: as said.
            resident_bytes: of the child now. What is not charged here, libraries above all that
                other processes have touched first, is counted on top: a limit is to mean the same
                where there is a group and where there is none.

        Returns:
            Whether the limit stands. If not the kernel has to give up cache first, which takes
            time: `enforce`, in a thread. Cost: some 30 us.
        """
        self._outside = self._held_most = self._spare_most = 0
        held = self.look()
        self._outside = max(0, resident_bytes - held)
        self._baseline = self._held_most = held + self._outside
        self._hard_bytes = None
        if hard_bytes is not None:
            # In whole steps: jobs of one task have one limit then, which need not be set again.
            self._hard_bytes = max(0, hard_bytes - self._outside) // _STEP_BYTES * _STEP_BYTES
        self._reset_mark()
        self._mark_before = self._read_number(self._names.mark)
        self._kills_before, self._ooms_before = self._events()
        hard, usage = self._hard_bytes, self._read_number(self._names.usage)
        is_slow = hard is not None and usage > hard
        if is_slow or not self._setting.acquire(blocking=False):
            return False
        try:
            self._set_limit()
        finally:
            self._setting.release()
        return True

    def enforce(self) -> None:
        """Set the limit that was asked for last; the kernel gives up cache for it. May block."""
        with self._setting:
            self._set_limit()

    def look(self) -> int:
        """Return the bytes that are held now, the page cache left out. Cost: some 10 us."""
        spare = self._read_spare()
        held = max(0, self._read_number(self._names.usage) - spare) + self._outside
        self._spare_most = max(self._spare_most, spare)
        self._held_most = max(self._held_most, held)
        return held

    @property
    def kills(self) -> int:
        """Processes that the kernel has killed here for memory in this attempt."""
        return self._events()[0] - self._kills_before

    def end(self) -> Taken:
        """Return what the attempt took; its processes may be gone by now."""
        self.look()
        mark, peak = self._read_number(self._names.mark), self._held_most
        if mark > self._mark_before:
            # An older mark, which this kernel does not set back, says nothing of this attempt.
            peak = max(peak, mark - self._spare_most + self._outside)
        kills, ooms = self._events()
        return Taken(
            self._baseline, peak, kills - self._kills_before, at_limit=ooms > self._ooms_before
        )

    def pids(self) -> list[int]:
        """Return the numbers of the processes that are in the group. Cost: some 10 us."""
        return _pids(self.folder)

    def members(self) -> list[ProcStat]:
        """Return the processes that are in the group and alive."""
        return members(self.folder)

    def remove(self) -> bool:
        """Close the files and remove the group; False: there are processes in it still."""
        while self._files:
            os.close(self._files.popitem()[1])
        return remove_group(self.folder)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self.folder / name, flags | os.O_CLOEXEC)

    def _open_mark(self) -> None:
        """Open the mark, so that it can be set back where the kernel lets us.

        Kernels before 5.19 keep none with version 2.
        """
        for flags in (os.O_RDWR, os.O_RDONLY):
            with contextlib.suppress(OSError):
                self._files[self._names.mark] = self._open(self._names.mark, flags)
                return

    def _reset_mark(self) -> None:
        mark = self._files.get(self._names.mark)
        if mark is not None:
            with contextlib.suppress(OSError):
                # Version 1, and version 2 from Linux 6.12 on, for this descriptor alone.
                os.write(mark, b"0")

    def _read(self, name: str) -> bytes:
        """Return what a file says, nothing once the group is removed."""
        fd = self._files.get(name)
        return b"" if fd is None else os.pread(fd, _READ_BYTES, 0)

    def _read_number(self, name: str) -> int:
        return int(self._read(name) or b"0")

    def _read_spare(self) -> int:
        text = self._read(_STAT)
        return sum(value_in(text, name) for name in self._names.spare)

    def _events(self) -> tuple[int, int]:
        """Return (kills of its processes, how often its own limit left nothing to give up)."""
        text = self._read(self._names.kills)
        return value_in(text, b"oom_kill"), value_in(text, b"oom")

    def _set_limit(self) -> None:
        """Set the limit; what is held already may be more, which the watch sees."""
        none = _NO_LIMIT_V1 if self._is_v1 else _NO_LIMIT_V2
        wanted = none if self._hard_bytes is None else b"%d" % self._hard_bytes
        if wanted == self._standing:
            return
        with_swap = "memory.memsw.limit_in_bytes"
        if self._is_v1:
            # It must not lie below the other at any moment.
            self._write_if_there(with_swap, none)
        stands = self._write_if_there(self._names.limit, wanted)
        if self._is_v1:
            self._write_if_there(with_swap, wanted)
        self._standing = wanted if stands else b""

    def _write_if_there(self, name: str, value: bytes) -> bool:
        """Write into a file of the group; False: there is none, or the kernel refused."""
        try:
            fd = os.open(self.folder / name, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value)
            finally:
                os.close(fd)
        except OSError:
            return False
        return True


def members(folder: Path) -> list[ProcStat]:
    """Return the processes that are in a group and alive; zombies are in none."""
    found = [read_stat(pid) for pid in _pids(folder)]
    # Race: a pid may have become a stranger's between the two; it is none of ours then.
    still = set(_pids(folder))
    return [one for one in found if one is not None and one.pid in still]


def _pids(folder: Path) -> list[int]:
    # Opened anew each time: with version 1 a descriptor may tell for a second what was so before.
    try:
        with open(f"{folder}/cgroup.procs", "rb", buffering=0) as file:  # noqa: PTH123 - hot
            return [int(word) for word in file.readall().split()]
    except OSError:
        return []


def remove_group(folder: Path) -> bool:
    """Remove a group; False: there are processes in it still. Cost: some 100 us."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
