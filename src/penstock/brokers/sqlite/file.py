"""One SQLite file as one process has it open: its writer, its readers, and what a fork does."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw

from penstock.core.clock import Clock
from penstock.errors import BadSetting, WrongContext

from .connection import check_sqlite_version, connect
from .place import check_place, warnings_of
from .schema import prepare
from .snapshot import Reader, Snapshot
from .transaction import Transaction
from .writer import Writer

Answer = TypeVar("Answer")


class SqliteFile:
    """The file, opened lazily and anew after each fork.

    Fork: SQLite keeps what this process has locked in memory, one entry per file for all of its
    connections. A child inherits the entry but not the locks, so that even a new connection of the
    child would believe that it holds locks which it does not, and lose data when the parent closes
    (sqlite.org/howtocorrupt.html, 2.6). So all connections are closed before a fork and opened
    again at the next call, in the parent and in the child; transactions in progress end first.

    Attributes:
        path: absolute.
        wake_directory: where the FIFOs of its listeners are.
        sqlite_version: of the library.
        warnings: what endangers jobs in this place.
    """

    def __init__(self, path: Path, clock: Clock, *, busy_timeout_s: float) -> None:
        """Check the place; the file itself is opened by the first call.

        Raises:
            BadSetting: SQLite is too old, or the path cannot be used.
        """
        self.sqlite_version = apsw.sqlite_lib_version()
        check_sqlite_version(self.sqlite_version)
        self.warnings = warnings_of(path, check_place(path))
        self.path = path
        self.wake_directory = path.with_name(path.name + "-wake")
        self._busy_timeout_s = busy_timeout_s
        self._is_closed = False
        self._writer = Writer(self._connect_for_writing, str(path), clock)
        self._reader = Reader(self._connect_for_reading, str(path))
        _close_at_fork(self)

    def write(
        self, work: Callable[[Transaction], Answer], *, fsync: bool
    ) -> tuple[Answer, Transaction]:
        """Run and commit one operation. See `Writer.run`."""
        self.check_open()
        return self._writer.run(work, fsync=fsync)

    def read(self, read: Callable[[Snapshot], Answer]) -> Answer:
        """Read one state of the file. See `Reader.run`."""
        self.check_open()
        return self._reader.run(read)

    def make_wake_directory(self) -> Path:
        """Return the directory of the FIFOs, made where it is missing; only its user may enter."""
        self.check_open()
        self.wake_directory.mkdir(mode=0o700, exist_ok=True)
        return self.wake_directory

    def close(self) -> None:
        """Close all connections once the calls in progress are through."""
        self._is_closed = True
        self.pause()
        self.resume()
        with suppress(OSError):
            self.wake_directory.rmdir()

    def pause(self) -> None:
        """Let the calls in progress end, close all connections, and let none start."""
        self._writer.pause()
        self._reader.pause()

    def resume(self) -> None:
        """Let calls start again; they open the file anew."""
        self._reader.resume()
        self._writer.resume()

    def check_open(self) -> None:
        """Refuse calls on a closed file.

        Raises:
            WrongContext: it is closed.
        """
        if self._is_closed:
            raise WrongContext(f"the broker on {self.path} is closed: open a new one")

    def _connect_for_writing(self) -> apsw.Connection:
        # Race: a call that waited for the lock while the broker was closed must not open it again.
        self.check_open()
        connection = connect(str(self.path), busy_timeout_s=self._busy_timeout_s)
        try:
            prepare(connection, self.path, busy_timeout_s=self._busy_timeout_s)
        except BaseException as error:
            connection.close(force=True)
            if isinstance(error, apsw.NotADBError):
                raise BadSetting(
                    f"{self.path} is no SQLite file: give another path, or move the file away"
                ) from error
            raise
        return connection

    def _connect_for_reading(self) -> apsw.Connection:
        self.check_open()
        return connect(str(self.path), busy_timeout_s=self._busy_timeout_s, reads_only=True)


def _close_at_fork(file: SqliteFile) -> None:
    """Close `file` around each fork of this process, as long as it lives."""
    alive = weakref.ref(file)

    def pause() -> None:
        found = alive()
        if found is not None:
            found.pause()

    def resume() -> None:
        found = alive()
        if found is not None:
            found.resume()

    os.register_at_fork(before=pause, after_in_parent=resume, after_in_child=resume)
