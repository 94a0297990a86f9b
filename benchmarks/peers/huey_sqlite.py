"""huey on SQLite: results stored, its own `fsync` option for the class fsync.

huey offers synchronous FULL (fsync=True, and by default, since it leaves SQLite's own) or OFF, no
NORMAL; for the class local its storage is told NORMAL here, which is faster than its default.
Worker: `huey_consumer huey_sqlite.huey -w N -k thread`; N is tuned by the scenario.
"""

from __future__ import annotations

import os
from typing import Any

import contract
from contract import note_start
from huey import SqliteHuey
from huey.storage import SqliteStorage


class NormalStorage(SqliteStorage):
    """The same storage at synchronous NORMAL."""

    def _create_connection(self) -> Any:
        connection = super()._create_connection()
        connection.execute("PRAGMA synchronous=1")
        return connection


def make(database: str, durability: str) -> SqliteHuey:
    """Return a huey on this file."""
    if durability == "fsync":
        return SqliteHuey("bench", filename=database, fsync=True)
    return SqliteHuey("bench", filename=database, storage_class=NormalStorage)


huey = make(os.environ.get("BENCH_URL", ":memory:"), os.environ["BENCH_VARIANT"])


@huey.task()
def noop(argument: dict[str, Any]) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """huey has no bulk call for SQLite; its single call stands in, and the table says so."""

    def enqueue(self, argument: dict[str, Any]) -> None:
        """Put one no-op in."""
        noop(argument)

    def enqueue_bulk(self, arguments: list[dict[str, Any]]) -> None:
        """Put many no-ops in."""
        for argument in arguments:
            noop(argument)
