"""The folder of a child's temporary files: its own, closed to other users, gone with the child.

A worker that is killed whole leaves its children's folders behind. Each holds a file on which its
worker has a lock for as long as it lives: the next worker here removes those whose lock is free.
The kernel drops it whatever the worker died of, also where its number is another's by now, or
means nothing, as in a container that was started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

#: Begins its name; short, since sockets whose paths have a bound may stand in it.
_PREFIX: Final = "penstock-"
#: File in it that the worker holds locked. Only its presence and the lock mean something.
_LOCK: Final = ".penstock-lock"
#: The same before it is locked, under which nobody looks for it.
_NEW: Final = ".penstock-new"


class ChildFolder:
    """One folder, made for its owner alone.

    Args:
        environ: of the worker; a TMPDIR in it says where.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_place(environ)))
        # Without a lock, as on a file system that has none, nobody but this worker removes it.
        self._lock: int | None = None
        with contextlib.suppress(OSError):
            self._lock = _locked_new(self._path)

    def named_in(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which programs put their temporary files there."""
        return {**environ, "TMPDIR": str(self._path)}

    async def remove(self) -> None:
        """Remove it with what it holds, which may be much; what cannot be removed stays."""
        await asyncio.to_thread(self._remove)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove(self) -> None:
        with contextlib.suppress(OSError), _opened(self._path) as folder:
            _remove(self._path, folder)


def sweep_folders(environ: Mapping[str, str]) -> int:
    """Remove the folders of children whose worker is dead; return how many. Reads one folder.

    Only what a worker of this user has made and no worker holds: a name alone is no proof, for
    whoever may write to a shared folder for temporary files can choose it.

    Args:
        environ: of the worker; a TMPDIR in it says where.
    """
    removed = 0
    for path in Path(_place(environ) or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(path) as folder:
            lock = _lock_of_dead(folder)
            if lock is not None:
                try:
                    _remove(path, folder)
                finally:
                    os.close(lock)
                removed += not path.exists()
    return removed


def _place(environ: Mapping[str, str]) -> str | None:
    return environ.get("TMPDIR") or None


def _locked_new(path: Path) -> int:
    """Make the file in a folder and return its descriptor, which holds the lock."""
    # Inherited by nobody: the lock goes with this process alone.
    lock = os.open(path / _NEW, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Race: a worker that looks now finds no file to try; under its name it is locked already.
        (path / _NEW).rename(path / _LOCK)
    except BaseException:
        os.close(lock)
        raise
    return lock


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a folder, and no link to one. Raises OSError where there is none."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder
    finally:
        os.close(folder)


def _lock_of_dead(folder: int) -> int | None:
    """Return the lock of a folder whose worker is dead; None: this is none of ours.

    Raises:
        OSError: there is no such file, or it is locked: its worker lives, or another one is at it.
    """
    # A pipe of that name must not hold this process up.
    lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        found = os.fstat(lock)
        owners = {os.fstat(folder).st_uid, found.st_uid}
        if stat.S_ISREG(found.st_mode) and owners == {os.geteuid()}:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _remove(path: Path, folder: int) -> None:
    """Remove a folder, its lock last: of one that is cut off in the middle the next begins anew.

    Race: what is removed is in the folder that was opened, whatever the path leads to by now.
    """
    for name in os.listdir(folder):
        if name == _LOCK:
            continue
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
    if set(os.listdir(folder)) <= {_LOCK}:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_LOCK, dir_fd=folder)
        path.rmdir()
