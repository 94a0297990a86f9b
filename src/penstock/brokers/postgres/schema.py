"""The schema of a database: made where there is none, moved on where it is older, else refused.

One that needs no more than this Penstock knows is used as it is, be its version newer. Migrations
run in order, in one transaction, under a lock that ends with it: a lock of the session would
outlive its client in a connection pooler.
"""

from __future__ import annotations

from typing import Final

from penstock.broker.schema import FIRST, Schema, check_schema
from penstock.errors import BadSetting

from .connection import Connection
from .statements import read_migrations
from .transaction import qualified

_MIGRATIONS: Final = read_migrations()
#: Version that this adapter reads and writes.
SCHEMA_VERSION: Final = _MIGRATIONS[-1].version
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
_SAID: Final = "SELECT name, value FROM penstock.meta"
_META: Final = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE penstock.meta (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO penstock.meta (name, value) VALUES ('schema_version', '0')
"""
_NOTE: Final = "UPDATE penstock.meta SET value = '{value}' WHERE name = '{name}'"


def prepare(connection: Connection, schema: bytes, location: str) -> Schema:
    """Bring the schema to `SCHEMA_VERSION`. Several processes may do so at once; one does.

    Args:
        connection: not inside a transaction.
        schema: its name, quoted.
        location: of the server, for errors.

    Returns:
        What the schema says of itself, which may be newer than this Penstock.

    Raises:
        BadSetting: the schema needs a newer Penstock, or the server is too old.
        psycopg.Error: the server refuses.
    """
    connection.patience_s = _TIMEOUT_S
    if connection.info.server_version < SERVER_VERSION_MIN:
        raise BadSetting(
            f"{location} is PostgreSQL {connection.info.server_version // 10_000}: use "
            f"{SERVER_VERSION_MIN // 10_000} or newer"
        )
    found = _schema_of(connection, schema, location)
    if found is not None and found.version >= SCHEMA_VERSION:
        return found
    with connection.transaction():
        connection.execute(b"SET LOCAL lock_timeout = 0")
        connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})".encode())
        # Race: another process may have done it since.
        return _migrate(connection, schema, _schema_of(connection, schema, location))


def _migrate(connection: Connection, schema: bytes, found: Schema | None) -> Schema:
    """Make what is missing, each step with its note, in the transaction that is open."""
    if found is None:
        connection.execute(qualified(_META.format(schema=schema.decode()), schema))
    now = found or Schema(version=0, needs=FIRST.needs)
    for step in _MIGRATIONS:
        if step.version > now.version:
            connection.execute(qualified(step.sql, schema))
            now = Schema(step.version, max(step.needs, now.needs))
            for name, value in (("schema_version", now.needs), ("schema_revision", now.version)):
                connection.execute(qualified(_NOTE.format(name=name, value=value), schema))
    return now


def _schema_of(connection: Connection, schema: bytes, location: str) -> Schema | None:
    """Return what the schema says of itself, None where there is none."""
    exists_sql = _EXISTS.format(schema=schema.decode()).encode()
    [(exists,)] = connection.execute(exists_sql).fetchall()
    if not exists:
        return None
    said: dict[str, str] = dict(connection.execute(qualified(_SAID, schema)).fetchall())
    needs = int(said["schema_version"])
    # Before version 2 the one row said both.
    found = Schema(version=int(said.get("schema_revision", needs)), needs=needs)
    check_schema(found, SCHEMA_VERSION, location, or_else="give another schema")
    return found
