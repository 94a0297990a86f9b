"""Opens connections to one file, all set up alike.

Each connection waits for locks by its own busy handler, in fine steps: SQLite's built-in one sleeps
up to 100 ms at a time, which is fifty times a whole transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import apsw

from penstock.errors import BadSetting

#: The WAL of SQLite 3.7.0 to 3.51.2 can be corrupted when two connections write and checkpoint at
#: the same instant (sqlite.org/wal.html, "WAL-reset bug"); 3.51.3 mends it.
SQLITE_VERSION_MIN: Final = (3, 51, 3)
#: Seconds; the first sleep is about the length of one small commit without fsync.
_SLEEP_S_MIN: Final = 0.0001
#: Seconds; longer sleeps leave the lock idle between holders that need 0.1 to 5 ms each.
_SLEEP_S_MAX: Final = 0.002
#: Statements kept prepared per connection; the adapter has about 90, and claims vary by offers.
_STATEMENT_CACHE: Final = 200
#: Bytes; a commit of one job writes four or five pages to the log, and every checkpoint waits until
#: the disk has them: half of SQLite's default is a third faster there, and no slower in batches.
PAGE_BYTES: Final = 2_048
#: Pages; a commit that finds the log longer than this (8 MiB, some 300 jobs enqueued, claimed and
#: settled one by one) moves it into the file, and takes 5 to 10 ms for it: the safety net under
#: `SqliteFile.move_log`, which workers call every ten seconds. Half as many made one pick-up in a
#: hundred late. Longer logs cost each fsync more, until the disk has given them their blocks.
CHECKPOINT_PAGES: Final = 4_000
#: Bytes; a log that grew past this in a burst is cut back when it is next started anew.
LOG_BYTES_MAX: Final = 16 * 2**20


def check_sqlite_version(version: str) -> None:
    """Refuse a SQLite that can corrupt a WAL.

    Raises:
        BadSetting: it is older than `SQLITE_VERSION_MIN`.
    """
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_VERSION_MIN:
        least = ".".join(str(part) for part in SQLITE_VERSION_MIN)
        raise BadSetting(
            f"SQLite {version} is too old: before {least} it can corrupt a write-ahead log; "
            f"install apsw {least} or newer, which brings its own SQLite"
        )


def connect(
    path: str, *, busy_timeout_s: float, creates: bool = False, reads_only: bool = False
) -> apsw.Connection:
    """Open a connection to a file.

    Args:
        path: absolute path.
        busy_timeout_s: give up on a lock after this long.
        creates: make the file if it is not there.
        reads_only: refuse writes, so that a mistake in a read cannot change anything.

    Raises:
        apsw.Error: the file cannot be opened.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if creates else 0)
    connection = apsw.Connection(path, flags=flags, statementcachesize=_STATEMENT_CACHE)
    # Plans must not depend on bound values: SQLite with STAT4 would prepare a statement anew at
    # every call wherever a value might decide on a partial index, at ten times its cost.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.set_busy_handler(_patience(busy_timeout_s))
    connection.wal_autocheckpoint(CHECKPOINT_PAGES)
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_MAX}")
    connection.execute(f"PRAGMA query_only = {'ON' if reads_only else 'OFF'}")
    return connection


def _patience(timeout_s: float) -> Callable[[int], bool]:
    """Return a busy handler that sleeps 0.1 ms, rising to 2 ms, until `timeout_s` has passed."""
    give_up_at = 0.0

    def wait(tries: int) -> bool:
        nonlocal give_up_at
        now = time.monotonic()
        if tries == 0:
            give_up_at = now + timeout_s
        if now >= give_up_at:
            return False
        time.sleep(min(_SLEEP_S_MAX, _SLEEP_S_MIN * (tries + 1)))
        return True

    return wait
