"""What an apsw error means to the caller: whether anything was written, and what to do.

One table, used at the two edges where apsw is called: a read or a write before COMMIT (nothing was
written), and COMMIT itself. SQLite's codes: https://sqlite.org/rescode.html.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import apsw

from penstock.broker.rules import AGAIN
from penstock.errors import BrokerError, OutcomeUnknown, Unavailable

from .place import can_be_opened

#: Error class -> what it says and the way out. Everything else is told with SQLite's own words.
_ADVICE: Final[tuple[tuple[type[apsw.Error], str], ...]] = (
    (
        apsw.BusyError,
        (
            "another process kept it locked for longer than the busy timeout: look for a process "
            "that stands still inside a transaction, and call again"
        ),
    ),
    (apsw.FullError, "the disk or its quota is full: make room, and call again"),
    (
        apsw.ReadOnlyError,
        "it cannot be written: give this user the right to write the file and its directory",
    ),
    (
        apsw.CantOpenError,
        (
            "it, its -wal or its -shm cannot be opened: give this user the right to write the file "
            "and its directory, and check the limit of open files"
        ),
    ),
    (
        apsw.PermissionsError,
        "access was refused: give this user the right to read and write the file and its directory",
    ),
    (
        apsw.CorruptError,
        (
            "its content is damaged: stop the workers, copy the file with its -wal, and recover "
            "it with the `.recover` command of sqlite3"
        ),
    ),
    (apsw.NotADBError, "it is no SQLite database: give another path, or move the file away"),
    (apsw.IOError, "reading or writing failed: look at the system log for errors of the disk"),
)

#: What no later call finds mended.
_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError)
#: What lasts where the path is to blame, and not a limit of this moment.
_CLOSED_TO_US: Final = (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError)
#: In COMMIT these are raised before the commit record is complete: nothing was written.
_DEFINITE_IN_COMMIT: Final = (apsw.BusyError, apsw.FullError, apsw.ReadOnlyError)
#: No room: SQLite calls only the first "full", the others are I/O errors to it.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def before_commit(error: apsw.Error, path: str) -> BrokerError:
    """Return the port's error for one raised by a read, or by a write before COMMIT."""
    told = Unavailable(f"{path}: {_advice(error)} (nothing was written; SQLite: {error})")
    told.lasts = isinstance(error, _DAMAGE) or (
        isinstance(error, _CLOSED_TO_US) and not can_be_opened(Path(path))
    )
    return told


def in_commit(error: apsw.Error, path: str, *, system_errno: int) -> BrokerError:
    """Return the port's error for one raised by COMMIT.

    Args:
        error: what was raised.
        path: of the file.
        system_errno: what the operating system said to SQLite last.

    A full disk stops the write of the log before its commit record is whole, and a log without it
    is ignored. A failed fsync comes after the record: a later reader may find it or not.
    """
    if isinstance(error, apsw.IOError) and system_errno in _NO_ROOM:
        return before_commit(apsw.FullError(str(error)), path)
    if isinstance(error, _DEFINITE_IN_COMMIT):
        return before_commit(error, path)
    return OutcomeUnknown(
        f"{path}: COMMIT failed, and the write may or may not have happened: {_advice(error)}; "
        f"then {AGAIN} (SQLite: {error})"
    )


def _advice(error: apsw.Error) -> str:
    for kind, text in _ADVICE:
        if isinstance(error, kind):
            return text
    return "SQLite refused"
