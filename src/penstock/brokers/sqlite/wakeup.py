"""How one process wakes another: a FIFO per listener in a directory beside the file.

A FIFO and not a unix socket: a socket's path is limited to 107 bytes, and a deep data directory is
longer. Its name is the token, so an address needs no registry: writing finds a reader (woken),
nobody (ENXIO: the process died) or no file (ENOENT: it was closed). Any other error says nothing
about the listener; to take it for dead would take the tokens of all who sleep, unwoken.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from penstock.errors import WrongContext

_TOKEN: Final = re.compile(r"[0-9a-f]{32}\Z")
#: What the name of a FIFO begins with until it has a reader.
_NEW: Final = "new-"
#: Seconds after which a FIFO that never got a reader is left over; making one takes microseconds.
_NEW_S_MAX: Final = 60
#: Bytes read at once; a FIFO holds at most one pipe buffer of wake-ups.
_PIPE_BYTES: Final = 65_536


class FifoListener:
    """A place to be woken at from any process on this host. Belongs to the process that opened it.

    `wait` and `drain` belong to the thread that sleeps; `close` may come from any.
    """

    def __init__(self, directory: Path, forget: Callable[[str], None]) -> None:
        """Make and open the FIFO.

        Args:
            directory: where the FIFOs of this file are.
            forget: told the token when it is given up.

        Raises:
            OSError: the FIFO cannot be made.
        """
        self.token = secrets.token_hex(16)
        self.breaks = 0
        self._pid = os.getpid()
        self._path = directory / self.token
        self._forget = forget
        unopened = directory / f"{_NEW}{self.token}"
        os.mkfifo(unopened, mode=0o600)
        # Open for writing too, so that it never reads as closed while nobody calls.
        self._fd = os.open(unopened, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        # Race: under its final name it has a reader, so that nobody removes it as stale.
        try:
            unopened.rename(self._path)
        except BaseException:
            os.close(self._fd)
            _remove(unopened)
            raise

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._fd

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one. Never blocks.

        Raises:
            WrongContext: in a process forked from the owner, which would steal its wake-ups.
        """
        if self._pid != os.getpid():
            raise WrongContext("this listener belongs to the parent process: open one here")
        if self._fd < 0:
            return False
        try:
            return bool(os.read(self._fd, _PIPE_BYTES))
        except BlockingIOError:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Block until woken or `timeout_s` passed; return whether woken. Forgets the wake-ups."""
        if self._fd >= 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.poll(timeout_s * 1000)
        return self.drain()

    def close(self) -> None:
        """Give the address up. In a forked process only this process's descriptor is closed."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        if self._pid == os.getpid():
            self._path.unlink(missing_ok=True)
            self._forget(self.token)


def wake(directory: Path, token: str) -> bool:
    """Wake the listener of `token`; return False where it is dead or closed. Never blocks.

    Where it cannot be told, as for a FIFO of another user, the answer is True: that listener finds
    its jobs by polling.

    Cost: open, write and close of a FIFO, about 5 microseconds.
    """
    if not _TOKEN.match(token):
        return False
    path = directory / token
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            _remove(path)
        return error.errno not in (errno.ENXIO, errno.ENOENT)
    try:
        os.write(fd, b"\0")
    except BlockingIOError:
        # The pipe is full of wake-ups that the listener has not read: it is awake as can be.
        return True
    except BrokenPipeError:
        # It was closed since it was opened here.
        return False
    finally:
        os.close(fd)
    return True


def exists(directory: Path, token: str) -> bool:
    """Return whether there is a FIFO of this token, or may be; its reader may be dead."""
    if not _TOKEN.match(token):
        return False
    try:
        (directory / token).stat()
    except OSError as error:
        # In a directory of another user it cannot be told.
        return error.errno != errno.ENOENT
    return True


def remove_stale(directory: Path) -> int:
    """Remove the FIFOs of processes that are gone; return how many. Cost: one open per FIFO.

    One that never got its final name has no reader for an instant, so it must be old too. A
    directory of another user is left to him.
    """
    stale = 0
    with suppress(FileNotFoundError, PermissionError):
        for path in directory.iterdir():
            is_stale = _is_left_over if path.name.startswith(_NEW) else _has_no_reader
            if _TOKEN.match(path.name.removeprefix(_NEW)) and is_stale(path):
                _remove(path)
                stale += 1
    return stale


def _is_left_over(path: Path) -> bool:
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return False
    return age_s > _NEW_S_MAX and _has_no_reader(path)


def _has_no_reader(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.ENXIO
    os.close(fd)
    return False


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
