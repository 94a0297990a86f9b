"""A small file that all workers of one host map, with a record of each.

Each change is made under a lock on the file; records of dead workers are dropped when they are in
somebody's way. A worker without a folder of its own for the file has the host to itself, as far as
it knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .own_folder import open_files

_log = logging.getLogger("penstock.worker")

#: As `Record`.
_RECORD: Final = struct.Struct("<qqqqqqq")
#: Workers of one host; more than it has memory for, and read within 20 us.
_RECORDS_MAX: Final = 64
#: Tries to get the lock, and seconds between two. Bound: a worker that was stopped while it held
#: the lock must not stop the loops of the others.
_TRIES: Final = 20
_TRY_AGAIN_S: Final = 0.0005


class Record(NamedTuple):
    """What one worker says.

    Attributes:
        pid, started_ticks: of its supervisor; 0: the record is free.
        reserved_bytes: for its jobs.
        wanted_bytes: what others are to leave free, for a large job of its that has waited long.
        gate: 1: it holds the gate of the host: it takes nothing else until a large job fits.
        spare_bytes: of those reserved, what no job has, and is given up when others ask for it.
        asks: 1: a job of its would fit, were what others have to spare free.
    """

    pid: int
    started_ticks: int
    reserved_bytes: int = 0
    wanted_bytes: int = 0
    gate: int = 0
    spare_bytes: int = 0
    asks: int = 0


class HostRecords:
    """The record of this worker, and those beside it.

    Attributes:
        own: what is said of this worker, or will be once the lock can be had.
    """

    def __init__(
        self, file: Path | None, owner: Record,
        *, is_alive: Callable[[Record], bool], what: str,
    ) -> None:  # fmt: skip
        """Take a free record of the file, which is made if it is not there.

        Args:
            file: in a folder that only this user can write to; None: nothing is shared.
            owner: this worker, with nothing reserved.
            is_alive: tells whether the worker of a record still runs.
            what: is shared, for the log.
        """
        self._is_alive = is_alive
        self._what = what
        self.own = owner
        self._place = -1
        self._file = file
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._trouble = ""
        self._try_open()

    @property
    def is_shared(self) -> bool:
        """Whether there are others, as far as is known; without them nothing else may be called."""
        return self._map is not None

    @property
    def version(self) -> tuple[int, bytes]:
        """Whose record is whose, and all that is written; cheap to compare."""
        assert self._map is not None  # noqa: S101 - who calls this
        return self._place, self._map[:]

    def _try_open(self) -> None:
        """Join the others; where that fails, `look_after` tries again."""
        if self._file is None:
            return
        try:
            while not self._joins(self._file):
                # Race: the last worker has removed the file between its opening here and the lock.
                self._let_go()
        except OSError as error:
            if str(error) != self._trouble:
                _log.warning("this worker does not share %s with others: %s", self._what, error)
            self._trouble = str(error)
            self._let_go()
        else:
            if self._trouble:
                _log.warning("this worker shares %s with others from now on", self._what)
            self._trouble = ""

    def _joins(self, file: Path) -> bool:
        self._fd = open_files(file.parent, [file.name])[file.name]
        with self.locked() as is_locked:
            if not is_locked:
                raise TimeoutError(f"{file} is locked by another process")
            if not self._is_in_place(file):
                return False
            size = _RECORD.size * _RECORDS_MAX
            if os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            self._map = mmap.mmap(self._fd, size)
            self._drop_former()
            free = [at for at, one in enumerate(self._records()) if self._is_free(one)]
            if not free:
                raise OSError(f"{file} has room for {_RECORDS_MAX} workers, and all are taken")
            self._place = free[0]
            self.write(self.own)
        return True

    def _drop_former(self) -> None:
        """Free what this very process said as another worker, before it began anew; locked."""
        assert self._map is not None  # noqa: S101 - who calls this
        for place, one in enumerate(self._records()):
            if one[:2] == self.own[:2]:
                _RECORD.pack_into(self._map, place * _RECORD.size, *Record(0, 0))

    def _is_in_place(self, file: Path) -> bool:
        """Whether the file that is open is the one that others will open."""
        try:
            found = file.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._fd))

    def look_after(self) -> None:
        """Free the records of the dead, and write what could not be written; about once a second.

        A file that somebody has removed is made again: those who come now would not see this one.
        """
        if self._file is None:
            return
        if self._map is not None and not self._is_in_place(self._file):
            _log.warning("%s was removed, and is made again: workers are to share it", self._file)
            self._let_go()
        if self._map is None:
            self._try_open()
            return
        with self.locked() as is_locked:
            if is_locked:
                self.drop_dead()
                self.write(self.own)

    def close(self) -> None:
        """Give the record back, and let go of the file; the last worker removes it."""
        if self._map is not None and self._file is not None:
            with self.locked() as is_locked:
                if is_locked and self._place >= 0:
                    self.write(Record(0, 0))
                    self.drop_dead()
                    if not any(self.others()) and self._is_in_place(self._file):
                        self._file.unlink()
        self._let_go()

    def _let_go(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        self._place = -1
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def others(self) -> Iterator[Record]:
        """Yield the records of the other workers; without the lock one may be half of a change."""
        for place, one in enumerate(self._records()):
            if place != self._place and one.pid:
                yield one

    def _records(self) -> Iterator[Record]:
        assert self._map is not None  # noqa: S101 - who calls this
        return map(Record._make, _RECORD.iter_unpack(self._map[:]))

    def _is_free(self, one: Record) -> bool:
        return not one.pid or not self._is_alive(one)

    def drop_dead(self) -> None:
        """Free the records of workers that have ended without a word; the lock is held."""
        assert self._map is not None  # noqa: S101 - who calls this
        for place, one in enumerate(self._records()):
            if place != self._place and one.pid and not self._is_alive(one):
                _RECORD.pack_into(self._map, place * _RECORD.size, *Record(0, 0))

    def write(self, one: Record) -> None:
        """Write the own record; the lock is held."""
        assert self._map is not None  # noqa: S101 - who calls this
        self.own = one
        _RECORD.pack_into(self._map, self._place * _RECORD.size, *one)

    def note(self, one: Record) -> None:
        """Write the own record, now or, where somebody holds the lock, by `look_after`."""
        if one == self.own:
            return
        if self._map is None:
            # Told to the others once this worker has joined them.
            self.own = one
            return
        with self.locked() as is_locked:
            if is_locked:
                self.write(one)
            else:
                self.own = one

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock, and tell whether it is held."""
        is_locked = False
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_locked = True
                break
            time.sleep(_TRY_AGAIN_S)
        try:
            yield is_locked
        finally:
            if is_locked:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
