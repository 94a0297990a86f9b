"""The schema of a file: made where there is none, refused where it is of a newer Penstock.

There is one version so far, hence no older file and nothing that migrates one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import apsw

from penstock.errors import BadSetting

from .connection import PAGE_BYTES
from .statements import read_sql

#: Version that this adapter reads and writes.
SCHEMA_VERSION: Final = 1
#: "Pens" in ASCII; `file` and sqlite3's `PRAGMA application_id` show whose file it is.
APPLICATION_ID: Final = 0x50656E73
#: Seconds between tries to switch to a log, for which SQLite does not ask the busy handler.
_SWITCH_PAUSE_S: Final = 0.002


def prepare(connection: apsw.Connection, path: Path, *, busy_timeout_s: float) -> None:
    """Make the file ours: a write-ahead log, and the tables of `SCHEMA_VERSION`.

    Several processes may do so at once; one makes the tables, the others find them.

    Raises:
        BadSetting: the file belongs to another program, or to a newer Penstock.
        apsw.Error: the file cannot be read or written.
    """
    _check_owner(connection, path)
    # It counts only where the file is new.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _use_log(connection, busy_timeout_s)
    if version_of(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Race: another process may have made the tables since.
        _check_owner(connection, path)
        if version_of(connection) is None:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(read_sql("schema"))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def version_of(connection: apsw.Connection) -> int | None:
    """Return the schema version, None where there are no tables."""
    # Race: `table_exists` would answer from what this connection last read of the schema, which may
    # be older than the transaction that it is in.
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
        return None
    [(version,)] = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'")
    return int(version)


def _check_owner(connection: apsw.Connection, path: Path) -> None:
    # Race: another process may make the tables between the two reads; it sets the id in the same
    # transaction, so that tables which were seen have an id that is seen afterwards.
    is_empty = not connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
    application_id = connection.pragma("application_id")
    if is_empty and application_id == 0:
        return
    if application_id != APPLICATION_ID:
        raise BadSetting(
            f"{path} is a SQLite file of another program (application id {application_id:#x}): "
            "give another path"
        )
    version = version_of(connection)
    if version is not None and version > SCHEMA_VERSION:
        raise BadSetting(
            f"{path} has schema version {version}, made by a newer Penstock; this one knows "
            f"{SCHEMA_VERSION}: upgrade Penstock, or give another path"
        )


def _use_log(connection: apsw.Connection, busy_timeout_s: float) -> None:
    give_up_at = time.monotonic() + busy_timeout_s
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(_SWITCH_PAUSE_S)
            continue
        if mode != "wal":
            raise apsw.CantOpenError(f"journal_mode is {mode}, and a log cannot be used")
        return
