"""What a server is and what it can promise, asked once when the broker opens."""

from __future__ import annotations

from typing import Final

from penstock.broker.requests import BrokerFacts, Durability
from penstock.errors import BadSetting

from .connection import Connection

_ASK: Final = b"""
SELECT
  current_setting('server_version'),
  current_setting('fsync') = 'on',
  current_setting('full_page_writes') = 'on',
  current_setting('synchronous_standby_names') <> ''
"""


def read_facts(connection: Connection, location: str, asked: Durability | None) -> BrokerFacts:
    """Return the facts of a server.

    Args:
        connection: to it.
        location: of it, without secrets.
        asked: class of durability of an enqueue that asks for none; None: the best of one server.

    Raises:
        BadSetting: it cannot give `asked`.
        psycopg.Error: the server refuses.
    """
    [(version, has_fsync, has_whole_pages, has_standby)] = connection.execute(_ASK).fetchall()
    durabilities = [Durability.LOCAL]
    warnings = []
    if has_fsync:
        durabilities.insert(0, Durability.FSYNC)
    else:
        warnings.append("fsync is off, and a crash may destroy the database: set fsync = on")
    if has_fsync and not has_whole_pages:
        warnings.append(
            "full_page_writes is off, and power loss may destroy the database unless the disk "
            "writes whole pages: set full_page_writes = on"
        )
    if has_standby:
        durabilities.append(Durability.REPLICATED)
    if asked is not None and asked not in durabilities:
        ways = ", ".join(durabilities)
        cause = {
            Durability.REPLICATED: "synchronous_standby_names is empty: name a standby there",
            Durability.FSYNC: "fsync is off: set fsync = on",
        }.get(asked, "it is no class of a server")
        raise BadSetting(
            f"durability {asked.value!r} is not to be had from {location}, since {cause}, or ask "
            f"for {ways}"
        )
    return BrokerFacts(
        kind="postgres",
        location=location,
        version=version,
        durability=durabilities[0] if asked is None else asked,
        durabilities=tuple(durabilities),
        warnings=tuple(warnings),
    )
