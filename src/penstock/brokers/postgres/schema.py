"""The schema of a database: made where there is none, moved on where it is older.

Migrations run in order, in one transaction, under a lock that ends with it: a lock of the session
would outlive its client in a connection pooler.
"""

from __future__ import annotations

from typing import Final

from penstock.errors import BadSetting

from .connection import Connection
from .statements import read_migrations
from .transaction import qualified

_MIGRATIONS: Final = read_migrations()
#: Version that this adapter reads and writes.
SCHEMA_VERSION: Final = max(_MIGRATIONS)
#: PostgreSQL below this has no `client_connection_check_interval`, and its life is over in 2026.
SERVER_VERSION_MIN: Final = 140_000
#: "Pens" in ASCII: the name of the lock.
_LOCK: Final = 0x50656E73

#: Seconds; a new index on a large table takes its time.
_TIMEOUT_S: Final = 600.0

# Race: `to_regclass` answers from a cache that may be older than the lock that was waited for.
_EXISTS: Final = """
SELECT EXISTS (
  SELECT FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
  WHERE nspname = trim(BOTH '"' FROM '{schema}')
  AND relname = 'meta'
)
"""
_VERSION: Final = "SELECT value::integer FROM penstock.meta WHERE name = 'schema_version'"
_META: Final = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE penstock.meta (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO penstock.meta (name, value) VALUES ('schema_version', '0')
"""
_NOTE_VERSION: Final = "UPDATE penstock.meta SET value = '{version}' WHERE name = 'schema_version'"


def prepare(connection: Connection, schema: bytes, location: str) -> None:
    """Bring the schema to `SCHEMA_VERSION`. Several processes may do so at once; one does.

    Args:
        connection: not inside a transaction.
        schema: its name, quoted.
        location: of the server, for errors.

    Raises:
        BadSetting: the schema is of a newer Penstock, or the server too old.
        psycopg.Error: the server refuses.
    """
    connection.patience_s = _TIMEOUT_S
    if connection.info.server_version < SERVER_VERSION_MIN:
        raise BadSetting(
            f"{location} is PostgreSQL {connection.info.server_version // 10_000}: use "
            f"{SERVER_VERSION_MIN // 10_000} or newer"
        )
    if _version_of(connection, schema, location) == SCHEMA_VERSION:
        return
    with connection.transaction():
        connection.execute(b"SET LOCAL lock_timeout = 0")
        connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})".encode())
        # Race: another process may have done it since.
        version = _version_of(connection, schema, location)
        if version is None:
            connection.execute(qualified(_META.format(schema=schema.decode()), schema))
        for number, text in _MIGRATIONS.items():
            if number > (version or 0):
                connection.execute(qualified(text, schema))
                connection.execute(qualified(_NOTE_VERSION.format(version=number), schema))


def _version_of(connection: Connection, schema: bytes, location: str) -> int | None:
    """Return the version of the schema, None where there is none."""
    exists_sql = _EXISTS.format(schema=schema.decode()).encode()
    [(exists,)] = connection.execute(exists_sql).fetchall()
    if not exists:
        return None
    [(version,)] = connection.execute(qualified(_VERSION, schema)).fetchall()
    if version > SCHEMA_VERSION:
        raise BadSetting(
            f"{location} has schema version {version}, made by a newer Penstock; this one knows "
            f"{SCHEMA_VERSION}: upgrade Penstock, or give another schema"
        )
    return int(version)
