"""One SQLite file as one process has it open: its writer, its readers, and what a fork does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

import apsw

from penstock.core.clock import Clock
from penstock.errors import BadSetting, Unavailable, WrongContext

from .connection import LOG_BYTES_MAX, check_sqlite_version, connect
from .forks import FORK_HOOKS
from .place import check_place, warnings_of
from .schema import prepare
from .snapshot import Reader, Snapshot
from .transaction import Transaction
from .writer import Writer

Answer = TypeVar("Answer")

#: Seconds between looks whether the path still names the open file; a look costs 2 microseconds.
_LOOK_EVERY_S: Final = 1.0
#: Bytes; a shorter log is left where it is, so that an idle file is not written.
_LOG_BYTES_LEFT_ALONE: Final = 2**20
#: Seconds; writers wait while the log is emptied, so it is given up soon and tried again later.
_LOG_PATIENCE_S: Final = 0.05


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
        schema_version: of the file, when it was last opened for writing.
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
        self.schema_version = 0
        self._is_closed = False
        self._identity: tuple[int, int] | None = None
        self._look_at = 0.0
        self._writer = Writer(self._connect_for_writing, str(path), clock)
        self._reader = Reader(self._connect_for_reading, str(path))
        FORK_HOOKS.add(self)

    def open(self) -> None:
        """Open the file, and make it where there is none; an existing one is not written to.

        Raises:
            BadSetting: the file is not one that this broker can use.
            Unavailable: it cannot be opened.
        """
        self.check_open()
        self._writer.open()

    def write(
        self, work: Callable[[Transaction], Answer], *, fsync: bool
    ) -> tuple[Answer, Transaction]:
        """Run and commit one operation. See `Writer.run`."""
        self.check_open()
        now = time.monotonic()
        if now >= self._look_at:
            self._check_in_place()
            self._look_at = now + _LOOK_EVERY_S
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
        try:
            self._reader.pause()
        except BaseException:
            # Race: an interrupt while it waited for reads; what is not paused is not resumed later.
            self._writer.resume()
            raise

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

    def begin_anew(self) -> None:
        """Let calls start in a forked child; those that waited in the parent are the parent's."""
        self._writer.forget_line()
        self.resume()

    def move_log(self) -> None:
        """Move the log into the file, so that no commit has to, and cut it back if it is too long.

        SQLite starts the log anew only at an instant at which nobody reads. Under reads without a
        pause that instant must be asked for.

        Cost: writes that go on meanwhile are not held up; readers are asked to pause only where the
        log outgrew its bound.
        """
        self.check_open()
        self._reader.run_apart(self._move_log)

    def _move_log(self) -> None:
        log = self.path.with_name(self.path.name + "-wal")
        with suppress(OSError, apsw.Error):
            size = log.stat().st_size
            if size > _LOG_BYTES_LEFT_ALONE:
                connection = connect(str(self.path), busy_timeout_s=_LOG_PATIENCE_S)
                with closing(connection):
                    # A connection that has read nothing does not know the log yet.
                    connection.pragma("schema_version")
                    connection.wal_checkpoint(
                        mode=apsw.SQLITE_CHECKPOINT_TRUNCATE
                        if size > LOG_BYTES_MAX
                        else apsw.SQLITE_CHECKPOINT_PASSIVE
                    )

    def _check_in_place(self) -> None:
        """Refuse to write to a file that is no longer found under its path.

        Raises:
            Unavailable: it was removed or replaced.
        """
        if self._identity is not None and _identity_of(self.path) != self._identity:
            raise Unavailable(
                f"{self.path} was removed or replaced while it was open, so that nobody would find "
                "what is written: put it back, or start this process again"
            )

    def _connect_for_writing(self) -> apsw.Connection:
        # Race: a call that waited for the lock while the broker was closed must not open it again.
        self.check_open()
        self._check_in_place()
        if self.path.exists() and not self.path.is_file():
            raise BadSetting(f"{self.path} is no regular file: give the path of a file")
        connection = connect(str(self.path), busy_timeout_s=self._busy_timeout_s, creates=True)
        try:
            schema = prepare(connection, self.path, busy_timeout_s=self._busy_timeout_s)
            self.schema_version = schema.version
        except BaseException as error:
            connection.close(force=True)
            # One that was good before is away for a while: its callers wait, or are told so.
            if isinstance(error, apsw.NotADBError) and self._identity is None:
                raise BadSetting(
                    f"{self.path} is no SQLite file: give another path, or move the file away"
                ) from error
            raise
        if self._identity is None:
            self._identity = _identity_of(self.path)
        return connection

    def _connect_for_reading(self) -> apsw.Connection:
        self.check_open()
        return connect(str(self.path), busy_timeout_s=self._busy_timeout_s, reads_only=True)


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
