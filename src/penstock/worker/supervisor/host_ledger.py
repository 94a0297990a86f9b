"""What the workers of one host have reserved together: a small file that they all map.

Each worker writes what it has reserved into a record of its own, under a lock on the file; so two
workers that may both use the whole machine do not both do so. Records of dead workers are dropped
when they are in somebody's way. A worker without a folder of its own for the file has the host to
itself, as far as it knows.
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
from typing import Final, NamedTuple, Self

from .own_folder import open_files

_log = logging.getLogger("penstock.worker")

#: Process, its start in clock ticks, bytes reserved, bytes wanted, whether it holds the gate.
_RECORD: Final = struct.Struct("<qqqqq")
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
    """

    pid: int
    started_ticks: int
    reserved_bytes: int = 0
    wanted_bytes: int = 0
    gate: int = 0


class HostLedger:
    """The record of this worker, and those beside it."""

    def __init__(
        self, file: Path | None, owner: Record, *, is_alive: Callable[[Record], bool]
    ) -> None:
        """Take a free record of the file, which is made if it is not there.

        Args:
            file: in a folder that only this user can write to; None: there is no ledger.
            owner: this worker, with nothing reserved.
            is_alive: tells whether the worker of a record still runs.
        """
        self._is_alive = is_alive
        self._own = owner
        self._place = -1
        self._file = Path()
        self._fd = -1
        self._map: mmap.mmap | None = None
        if file is not None:
            self._try_open(file)

    def _try_open(self, file: Path) -> None:
        try:
            self._open(file)
        except OSError as error:
            _log.warning("this worker does not share its memory with others: %s", error)
            self._let_go()

    def _open(self, file: Path) -> None:
        self._file = file
        while not self._joins(file):
            # Race: the last worker has removed the file between its opening here and the lock.
            self._let_go()

    def _joins(self, file: Path) -> bool:
        self._fd = open_files(file.parent, [file.name])[file.name]
        with self._locked() as is_locked:
            if not is_locked:
                raise TimeoutError(f"{file} is locked by another process")
            if not self._is_in_place():
                return False
            size = _RECORD.size * _RECORDS_MAX
            if os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            self._map = mmap.mmap(self._fd, size)
            free = [at for at, one in enumerate(self._records()) if self._is_free(one)]
            if not free:
                raise OSError(f"{file} has room for {_RECORDS_MAX} workers, and all are taken")
            self._place = free[0]
            self._write(self._own)
        return True

    def _is_in_place(self) -> bool:
        """Whether the file that is open is the one that others will open."""
        try:
            found = self._file.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._fd))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the record back."""
        self.close()

    @property
    def is_shared(self) -> bool:
        """Whether there is a file that other workers see."""
        return self._map is not None

    def others_bytes(self) -> int:
        """Return what the other workers have reserved, or want left free."""
        if self._map is None:
            return 0
        # Race: without the lock a record may be half of a change old; only `take` decides.
        return self._others()

    def take(self, reserved_bytes: int, *, pool_bytes: int) -> bool:
        """Note what is reserved here, unless all together would pass the pool; return whether.

        Race: another worker may reserve between a look and this, so only this decides.
        """
        if self._map is None:
            return True
        with self._locked() as is_locked:
            if not is_locked:
                return False
            if reserved_bytes + self._others() > pool_bytes:
                self._drop_dead()
                if reserved_bytes + self._others() > pool_bytes:
                    return False
            self._write(self._own._replace(reserved_bytes=reserved_bytes))
            return True

    def note(self, reserved_bytes: int) -> None:
        """Note what is reserved here, whatever others have."""
        if self._map is not None and reserved_bytes != self._own.reserved_bytes:
            self._note(self._own._replace(reserved_bytes=reserved_bytes))

    def hold_gate(self, wanted_bytes: int) -> bool:
        """Ask the others to leave so much free for a large job; return False if another one does.

        Invariant: one worker of a host holds the gate. Two would leave free for each other what
        neither of them may take.
        """
        if self._map is None:
            return True
        with self._locked() as is_locked:
            if not is_locked:
                return False
            if any(other.gate for other in self._other_records()):
                self._drop_dead()
                if any(other.gate for other in self._other_records()):
                    return False
            self._write(self._own._replace(gate=1, wanted_bytes=wanted_bytes))
            return True

    def open_gate(self) -> None:
        """Hold it no longer."""
        if self._map is not None and self._own.gate:
            self._note(self._own._replace(gate=0, wanted_bytes=0))

    def look_after(self) -> None:
        """Free the records of the dead, and write what could not be written; about once a second.

        A file that somebody has removed is made again: those who come now would not see this one.
        """
        if self._map is None:
            return
        if not self._is_in_place():
            _log.warning("%s was removed, and is made again: workers are to share it", self._file)
            self._let_go()
            self._try_open(self._file)
            return
        with self._locked() as is_locked:
            if is_locked:
                self._drop_dead()
                self._write(self._own)

    def close(self) -> None:
        """Give the record back, and let go of the file; the last worker removes it."""
        if self._map is not None:
            with self._locked() as is_locked:
                if is_locked and self._place >= 0:
                    self._write(Record(0, 0))
                    self._drop_dead()
                    if not any(self._other_records()) and self._is_in_place():
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

    def _others(self) -> int:
        # A gate is for memory that others have: what its holder has reserved is beside it.
        return sum(one.reserved_bytes + one.wanted_bytes for one in self._other_records())

    def _other_records(self) -> Iterator[Record]:
        for place, one in enumerate(self._records()):
            if place != self._place and one.pid:
                yield one

    def _records(self) -> Iterator[Record]:
        assert self._map is not None  # noqa: S101 - who calls this
        return map(Record._make, _RECORD.iter_unpack(self._map[:]))

    def _is_free(self, one: Record) -> bool:
        return not one.pid or not self._is_alive(one)

    def _drop_dead(self) -> None:
        assert self._map is not None  # noqa: S101 - who calls this
        for place, one in enumerate(self._records()):
            if place != self._place and one.pid and not self._is_alive(one):
                _RECORD.pack_into(self._map, place * _RECORD.size, *Record(0, 0))

    def _write(self, one: Record) -> None:
        assert self._map is not None  # noqa: S101 - who calls this
        self._own = one
        _RECORD.pack_into(self._map, self._place * _RECORD.size, *one)

    def _note(self, one: Record) -> None:
        """Write the own record, now or, where somebody holds the lock, by `look_after`."""
        with self._locked() as is_locked:
            if is_locked:
                self._write(one)
            else:
                self._own = one

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
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
