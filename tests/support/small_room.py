"""Too little room for files: a small file system where one can be mounted, else a limit of files.

Mounting needs root. A limit of the size of files is there for everybody: it is one of processes,
which are started under it or put under it while they run.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.support.memory_folder import memory_folder


class Room(Protocol):
    """A folder in which there is little room.

    Attributes:
        folder: empty at first; anybody may look into it.
    """

    folder: Path

    def prefix(self) -> Sequence[str]:
        """Return words before the command of a process that is to have no more room than this."""

    def confine(self, pids: Iterable[int]) -> None:
        """Let processes that run already have no more room than this."""

    def make_room(self, pids: Iterable[int]) -> None:
        """Give them more."""


class _SmallDisk:
    """A file system in memory, a part of it taken by a file that can be removed."""

    def __init__(self, folder: Path, size_bytes: int, spare_bytes: int) -> None:
        self.folder = folder
        options = ["-t", "tmpfs", "-o", f"size={size_bytes},mode=0755", "tmpfs", str(folder)]
        subprocess.run(["mount", *options], check=True)
        self._spare = folder / "spare"
        self._spare.write_bytes(b"\0" * spare_bytes)

    def prefix(self) -> Sequence[str]:
        return ()

    def confine(self, pids: Iterable[int]) -> None:
        """All of them are on the disk."""

    def make_room(self, pids: Iterable[int]) -> None:  # noqa: ARG002 - all of them are on it
        self._spare.unlink()

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class _SmallFiles:
    """No file of a process may grow past a size."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self._size_bytes = size_bytes

    def prefix(self) -> Sequence[str]:
        # The signal that comes with the limit ends programs that do not ignore it.
        ignore = ("sh", "-c", 'trap "" XFSZ; exec "$@"', "sh")
        return (*ignore, "prlimit", f"--fsize={self._size_bytes}:", "--")

    def confine(self, pids: Iterable[int]) -> None:
        self._limit(pids, self._size_bytes)

    def make_room(self, pids: Iterable[int]) -> None:
        self._limit(pids, None)

    def close(self) -> None:
        """Leave nothing to undo."""

    @staticmethod
    def _limit(pids: Iterable[int], size_bytes: int | None) -> None:
        for pid in pids:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            soft = hard if size_bytes is None else size_bytes
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def kinds() -> tuple[str, ...]:
    """Return the kinds of rooms that this user can have, the closest to a full disk first."""
    return ("disk", "files") if os.geteuid() == 0 else ("files",)


@contextmanager
def small_room(kind: str, size_bytes: int, spare_bytes: int) -> Iterator[Room]:
    """Have a room of that size for as long as the block lasts, `spare_bytes` of it kept back."""
    folder = memory_folder("penstock-room-")
    folder.chmod(0o755)
    made: _SmallDisk | _SmallFiles
    if kind == "disk":
        made = _SmallDisk(folder, size_bytes, spare_bytes)
    else:
        made = _SmallFiles(folder, size_bytes - spare_bytes)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
