"""What a test does to a broker behind the back of the port: look into it, and tamper with it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import msgspec
import psycopg
from redis import Redis

from penstock.brokers.redis.broker import ROOT
from penstock.brokers.redis.stored import json_of, tag_of, to_short
from penstock.connect import sqlite_path

#: A boot that nobody here lives in, and a pid namespace likewise.
OTHER_BOOT: Final = "a-boot-that-is-over"
OTHER_NAMESPACE: Final = 1


class Backdoor(Protocol):
    """One broker, seen as its store."""

    def open_transactions(self) -> list[str]:
        """Return the transactions that somebody left open, one line each."""

    def move_to_other_boot(self) -> None:
        """Say of all owners of leases that they lived on a host that is gone."""

    def move_to_other_namespace(self) -> None:
        """Say of all owners of leases that they lived where nobody here can see them."""

    def write_specs(self, written: Mapping[str, bytes]) -> None:
        """Replace the stored records of jobs, by id."""


def backdoor(url: str) -> Backdoor:
    """Return the back door of the broker that `url` names."""
    match url.partition(":")[0]:
        case "sqlite":
            return SqliteDoor(sqlite_path(url))
        case "redis":
            return RedisDoor(url)
        case "postgresql":
            return PostgresDoor(url)
        case other:
            raise AssertionError(f"no back door into {other}")


class SqliteDoor:
    """Into a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def open_transactions(self) -> list[str]:
        """Tell whether somebody else may write."""
        if not self._file.exists():
            return []
        with closing(apsw.Connection(str(self._file))) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE; ROLLBACK")
            except apsw.BusyError:
                return ["a transaction on the file"]
        return []

    def move_to_other_boot(self) -> None:
        """Change the owners, and the stamps of the lease clock, which began anew with the boot."""
        self._execute("UPDATE lease SET owner_boot_id = ?1, boot_id = ?1", OTHER_BOOT)
        self._execute("UPDATE reaper SET boot_id = ?1", OTHER_BOOT)

    def move_to_other_namespace(self) -> None:
        """Change the owners."""
        self._execute("UPDATE lease SET pid_namespace = ?1", OTHER_NAMESPACE)

    def write_specs(self, written: Mapping[str, bytes]) -> None:
        """Write all in one transaction."""
        with closing(self._open()) as connection, connection:
            for job, record in written.items():
                connection.execute("UPDATE job SET spec = ? WHERE id = ?", (record, job))

    def _execute(self, sql: str, value: str | int) -> None:
        with closing(self._open()) as connection:
            connection.execute(sql, (value,))

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._file))
        connection.set_busy_timeout(5_000)
        return connection


class RedisDoor:
    """Into a database of a Redis server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def open_transactions(self) -> list[str]:
        """Return the connections that sent MULTI and no EXEC."""
        with closing(self._client()) as client:
            database = str(client.connection_pool.connection_kwargs["db"])
            return [
                f"a MULTI of {one['addr']}"
                for one in client.client_list()
                if one["db"] == database and one["multi"] != "-1"
            ]

    def move_to_other_boot(self) -> None:
        """Change the owners; the lease clock is the server's, and goes on."""
        self._change_owners({"boot_id": OTHER_BOOT})

    def move_to_other_namespace(self) -> None:
        """Change the owners."""
        self._change_owners({"pid_namespace": OTHER_NAMESPACE})

    def write_specs(self, written: Mapping[str, bytes]) -> None:
        """Replace what follows the head, which is the scripts' own."""
        with closing(self._client()) as client:
            names = {tag: name for name, tag in client.hgetall(f"{ROOT}:queues").items()}
            for job, record in written.items():
                queue = names[str(int(tag_of(job), 16)).encode()].decode()
                key, short = f"{ROOT}:{{{queue}}}:spec", to_short(job)
                stored = client.hget(key, short)
                head = stored[: len(stored) - len(json_of(stored))]
                assert client.hset(key, short, head + record) == 0, f"{job} was not stored"

    def _change_owners(self, changes: Mapping[str, Any]) -> None:
        with closing(self._client()) as client:
            for lease in client.smembers(f"{ROOT}:leases"):
                key = f"{ROOT}:lease:".encode() + lease
                owner = msgspec.json.decode(client.hget(key, "owner"))
                assert changes.keys() <= owner.keys(), owner
                client.hset(key, "owner", msgspec.json.encode(owner | changes))

    def _client(self) -> Any:
        # Its stubs leave open whether a call must be awaited.
        return Redis.from_url(self._url)


class PostgresDoor:
    """Into a database of a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def open_transactions(self) -> list[str]:
        """Return the sessions of this database that are inside a transaction."""
        sql = (
            "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND xact_start IS NOT NULL "
            "AND pid <> pg_backend_pid()"
        )
        with closing(self._connect()) as connection:
            rows = connection.execute(sql.encode()).fetchall()
        return [f"a transaction of backend {pid}, {state}: {text}" for pid, state, text in rows]

    def move_to_other_boot(self) -> None:
        """Change the owners; the lease clock is the server's, and goes on."""
        self._execute("UPDATE penstock.lease SET owner_boot_id = %s", OTHER_BOOT)

    def move_to_other_namespace(self) -> None:
        """Change the owners."""
        self._execute("UPDATE penstock.lease SET pid_namespace = %s", OTHER_NAMESPACE)

    def write_specs(self, written: Mapping[str, bytes]) -> None:
        """Write all in one transaction."""
        sql = b"UPDATE penstock.job SET spec = %s WHERE id = %s"
        with closing(self._connect()) as connection, connection.transaction():
            for job, record in written.items():
                assert connection.execute(sql, (record, job)).rowcount == 1, f"{job} is not stored"

    def _execute(self, sql: str, value: str | int) -> None:
        with closing(self._connect()) as connection:
            connection.execute(sql.encode(), (value,))

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True)
