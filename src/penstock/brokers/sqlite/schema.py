"""The schema of a file: made where there is none, moved on where it is older, refused where beyond.

A file that needs no more than this Penstock knows is used as it is, be its version newer.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import apsw

from penstock.broker.schema import FIRST, Schema, check_schema
from penstock.errors import BadSetting

from .connection import PAGE_BYTES
from .statements import read_migrations

_MIGRATIONS: Final = read_migrations()
#: Version that this adapter reads and writes.
SCHEMA_VERSION: Final = _MIGRATIONS[-1].version
#: "Pens" in ASCII; `file` and sqlite3's `PRAGMA application_id` show whose file it is.
APPLICATION_ID: Final = 0x50656E73
#: Seconds between tries to switch to a log, for which SQLite does not ask the busy handler.
_SWITCH_PAUSE_S: Final = 0.002
_NOTE: Final = "UPDATE meta SET value = ?2 WHERE name = ?1"


def prepare(connection: apsw.Connection, path: Path, *, busy_timeout_s: float) -> Schema:
    """Make the file ours: a write-ahead log, and the tables of `SCHEMA_VERSION`.

    Several processes may do so at once; one does, the others find it done.

    Returns:
        What the file says of itself, which may be newer than this Penstock.

    Raises:
        BadSetting: the file belongs to another program, or needs a newer Penstock.
        apsw.Error: the file cannot be read or written.
    """
    _check_owner(connection, path)
    # It counts only where the file is new.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _use_log(connection, busy_timeout_s)
    found = schema_of(connection)
    if found is not None and found.version >= SCHEMA_VERSION:
        return found
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Race: another process may have done it since.
        _check_owner(connection, path)
        made = _migrate(connection, schema_of(connection))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return made


def schema_of(connection: apsw.Connection) -> Schema | None:
    """Return what the file says of itself, None where there are no tables."""
    # Race: `table_exists` would answer from what this connection last read of the schema, which may
    # be older than the transaction that it is in.
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
        return None
    rows = connection.execute(
        "SELECT name, value FROM meta WHERE name IN ('schema_version', 'schema_revision')"
    ).fetchall()
    said = {str(name): int(str(value)) for name, value in rows}
    needs = said["schema_version"]
    # Before version 2 the one row said both.
    return Schema(version=said.get("schema_revision", needs), needs=needs)


def _migrate(connection: apsw.Connection, found: Schema | None) -> Schema:
    """Make what is missing, each step with its note, in the transaction that is open."""
    if found is None:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    now = found or Schema(version=0, needs=FIRST.needs)
    for step in _MIGRATIONS:
        if step.version > now.version:
            connection.execute(step.sql)
            now = Schema(step.version, max(step.needs, now.needs))
            connection.execute(_NOTE, ("schema_version", str(now.needs)))
            connection.execute(_NOTE, ("schema_revision", str(now.version)))
    return now


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
    found = schema_of(connection)
    if found is not None:
        check_schema(found, SCHEMA_VERSION, str(path), or_else="give another path")


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
