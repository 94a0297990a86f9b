"""What contestants work on: a file of SQLite, a Redis or a PostgreSQL server of the run's own.

Each measurement opens one, empty, with the same settings for everybody, and removes it afterwards.
Servers listen on a free port of the loopback interface; none that runs already is touched.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import apsw
import psycopg
import redis

from benchmarks.processes import cpu_s, tree

#: Seconds that a server may take to answer for the first time.
START_LIMIT_S = 30
#: Persistence on, nothing evicted, no rewrite of the log in the middle of a measurement.
REDIS_SETTINGS = (
    "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
    "--maxmemory-policy", "noeviction", "--auto-aof-rewrite-percentage", "0",
    "--loglevel", "warning",
)  # fmt: skip
#: As it comes, durable (fsync and synchronous_commit on), with more memory for a few tables.
POSTGRES_SETTINGS = (
    "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=256MB",
    "max_connections=100", "max_wal_size=4GB",
)  # fmt: skip


class Place(Protocol):
    """What one measurement of one contestant works on."""

    folder: Path
    url: str

    def server_cpu_s(self) -> float:
        """Return CPU seconds of the server so far; 0 where there is none."""


class SqliteFile:
    """A folder with one database file."""

    def __init__(self, folder: Path) -> None:
        """Name the file; the contestant makes it."""
        self.folder = folder
        self.url = str(folder / "bench.db")
        self._connection: apsw.Connection | None = None

    def number(self, sql: str) -> int:
        """Return the one number that a query finds; the contestants do not notice."""
        if self._connection is None:
            self._connection = apsw.Connection(self.url, flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.setbusytimeout(5_000)
        for (count,) in self._connection.execute(sql):
            return int(count)
        return 0

    def server_cpu_s(self) -> float:
        """There is no server."""
        return 0.0

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()


class RedisServer:
    """A redis-server with nothing in it."""

    def __init__(self, folder: Path, port: int) -> None:
        """Know the server; connections are made when they are used."""
        self.folder = folder
        self.url = f"redis://127.0.0.1:{port}/0"
        self._port = port
        self._clients: dict[int, Any] = {}

    def client(self, database: int = 0) -> Any:
        """Return a connection to one of its databases."""
        if database not in self._clients:
            self._clients[database] = redis.Redis(port=self._port, db=database)
        return self._clients[database]

    def server_cpu_s(self) -> float:
        """Return CPU seconds of its process; what a child rewrites is not counted."""
        cpu = self.client().info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    def used_memory_bytes(self) -> int:
        """Return what the data takes, without buffers of connections and of the log."""
        memory = self.client().info("memory")
        buffers = memory["mem_clients_normal"] + memory["mem_aof_buffer"]
        return int(memory["used_memory"] - buffers)


class PostgresServer:
    """A PostgreSQL cluster with one empty database."""

    def __init__(self, folder: Path, port: int, pid: int) -> None:
        """Know the server; the connection is made when it is used."""
        self.folder = folder
        self.url = f"postgresql://bench@127.0.0.1:{port}/postgres"
        self._pid = pid
        self._connection: psycopg.Connection[Any] | None = None

    def number(self, sql: str) -> int:
        """Return the one number that a query finds."""
        if self._connection is None:
            self._connection = psycopg.connect(self.url, autocommit=True)
        row = self._connection.execute(sql.encode()).fetchone()
        return int(row[0]) if row else 0

    def server_cpu_s(self) -> float:
        """Return CPU seconds of its processes that live."""
        return cpu_s(tree(self._pid))

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()


@contextlib.contextmanager
def sqlite_file() -> Iterator[SqliteFile]:
    """Give an empty folder for one database file."""
    with tempfile.TemporaryDirectory() as name:
        place = SqliteFile(Path(name))
        try:
            yield place
        finally:
            place.close()


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run an empty Redis server."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as name:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", name]
        with _running([*command, *REDIS_SETTINGS], Path(name)) as process:
            place = RedisServer(Path(name), port)
            _until_it_answers(process, place.client().ping, redis.ConnectionError)
            yield place


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a new PostgreSQL cluster; as the user postgres where the run is root's."""
    port = _free_port()
    user = "postgres" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "cluster"
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        initdb = [_program("initdb"), "-D", str(data), "-U", "bench", "-A", "trust", "-N"]
        subprocess.run(initdb, user=user, cwd=name, check=True, capture_output=True)
        command = [_program("postgres"), "-D", str(data), "-p", str(port)]
        for setting in POSTGRES_SETTINGS:
            command += ["-c", setting]
        with _running(command, folder, user) as process:
            place = PostgresServer(folder, port, process.pid)
            _until_it_answers(process, lambda: place.number("SELECT 1"), psycopg.OperationalError)
            try:
                yield place
            finally:
                place.close()


def _program(name: str) -> str:
    """Return a program of PostgreSQL; Debian keeps them out of PATH, a folder per version."""
    found = shutil.which(name)
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if found is None and not kept:
        raise RuntimeError(f"{name} is not there: install PostgreSQL (scripts/servers)")
    return str(kept[-1]) if kept else str(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, user=user)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until_it_answers(process: subprocess.Popen[bytes], ask: Any, not_yet: type[Exception]) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while True:
        try:
            ask()
        except not_yet as error:
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{process.args!r} does not answer") from error
            time.sleep(0.02)
        else:
            return
