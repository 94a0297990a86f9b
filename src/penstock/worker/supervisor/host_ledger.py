"""What the workers of one host have reserved together: a small file that they all map.

Each worker writes what it has reserved into a record of its own, under a lock on the file; so two
workers that may both use the whole machine do not both do so. Records of dead workers are dropped
when they are in somebody's way. A worker without a folder of its own for the file has the host to
itself, as far as it knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from penstock.core.admission import Set

from .own_folder import open_files

_log = logging.getLogger("penstock.worker")

#: Process, its start in clock ticks, bytes reserved, bytes wanted, the set that it is wanted for.
_RECORD: Final = struct.Struct("<qqqqQ")
#: Workers of one host; far more than it has memory for.
_RECORDS_MAX: Final = 256


class Record(NamedTuple):
    """What one worker says.

    Attributes:
        pid, started_ticks: of its supervisor; 0: the record is free.
        reserved_bytes: for its jobs.
        wanted_bytes: what others are to leave free, for a large job of its that has waited long.
        gate: the ready set which it holds itself free for, as a digest; 0: none.
    """

    pid: int
    started_ticks: int
    reserved_bytes: int = 0
    wanted_bytes: int = 0
    gate: int = 0


def gate_digest(one: Set) -> int:
    """Return the number that stands for a ready set."""
    name = "\0".join(one).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) | 1


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
            try:
                self._open(file)
            except OSError as error:
                _log.warning("this worker does not share its memory with others: %s", error)
                self.close()

    def _open(self, file: Path) -> None:
        self._file = file
        while not self._joins(file):
            # Race: the last worker has removed the file between its opening here and the lock.
            os.close(self._fd)

    def _joins(self, file: Path) -> bool:
        self._fd = open_files(file.parent, [file.name])[file.name]
        with self._locked():
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

    def others_bytes(self) -> int:
        """Return what the other workers have reserved, or want left free."""
        if self._map is None:
            return 0
        with self._locked():
            return self._others()

    def take(self, reserved_bytes: int, *, pool_bytes: int) -> bool:
        """Note what is reserved here, unless all together would pass the pool; return whether.

        Race: another worker may reserve between a look and this, so only this decides.
        """
        if self._map is None:
            return True
        with self._locked():
            if reserved_bytes + self._others() > pool_bytes:
                self._drop_dead()
                if reserved_bytes + self._others() > pool_bytes:
                    return False
            self._write(self._own._replace(reserved_bytes=reserved_bytes))
            return True

    def note(self, reserved_bytes: int) -> None:
        """Note what is reserved here, whatever others have."""
        if self._map is not None and reserved_bytes != self._own.reserved_bytes:
            with self._locked():
                self._write(self._own._replace(reserved_bytes=reserved_bytes))

    def hold_gate(self, one: Set, wanted_bytes: int) -> bool:
        """Hold this worker free for a set, and ask others to; return False if another one does.

        Args:
            one: the set.
            wanted_bytes: what others are to leave free for it.
        """
        if self._map is None:
            return True
        gate = gate_digest(one)
        with self._locked():
            if any(other.gate == gate for other in self._other_records()):
                self._drop_dead()
                if any(other.gate == gate for other in self._other_records()):
                    return False
            self._write(self._own._replace(gate=gate, wanted_bytes=wanted_bytes))
            return True

    def open_gate(self) -> None:
        """Hold it no longer."""
        if self._map is not None and self._own.gate:
            with self._locked():
                self._write(self._own._replace(gate=0, wanted_bytes=0))

    def drop_dead(self) -> None:
        """Free the records of workers that have ended without giving them back."""
        if self._map is not None:
            with self._locked():
                self._drop_dead()

    def close(self) -> None:
        """Give the record back, and let go of the file; the last worker removes it."""
        if self._map is not None:
            with self._locked():
                if self._place >= 0:
                    self._write(Record(0, 0))
                self._drop_dead()
                if not any(self._other_records()) and self._is_in_place():
                    self._file.unlink()
            self._map.close()
            self._map = None
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

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Bound: nobody keeps the lock for longer than it takes to read 10 KiB.
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
