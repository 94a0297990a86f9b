"""An empty broker of each kind for every scenario of the fault suite, on real servers."""

from __future__ import annotations

import itertools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import psycopg

from tests.support.memory_folder import memory_folder
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer, redis_server

Kind = Literal["sqlite", "redis", "postgres"]
KINDS: Final[tuple[Kind, ...]] = ("sqlite", "redis", "postgres")
#: Databases of the Redis server: one for every scenario of a proof, and more.
REDIS_DATABASES: Final = 4_096
#: Connections of the PostgreSQL server: a dozen workers at once, with runners and pools.
POSTGRES_SETTINGS: Final = {"max_connections": "300"}


class Brokers:
    """Use as a context. Servers start when they are first asked for, as they come, and end with it.

    Safe from many threads, since scenarios run side by side.
    """

    def __init__(self) -> None:
        """Start no server yet."""
        self._lock = threading.Lock()
        self._ends = ExitStack()
        self._numbers = itertools.count()
        # A server goes with the thread that started it, and threads of scenarios end early.
        self._starter = self._ends.enter_context(ThreadPoolExecutor(1))
        self._redis: RedisServer | None = None
        self._postgres: PostgresServer | None = None

    def url(self, kind: Kind, folder: Path) -> str:
        """Return the URL of a broker that holds nothing; `folder` is that of a file."""
        with self._lock:
            number = next(self._numbers)
            match kind:
                case "sqlite":
                    return f"sqlite:///{folder / 'penstock.db'}"
                case "redis":
                    return self._redis_url(number)
                case "postgres":
                    return self._postgres_url(number)

    def _redis_url(self, number: int) -> str:
        if self._redis is None:
            folder = memory_folder("penstock-redis-")
            self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
            server = redis_server(folder, "--databases", str(REDIS_DATABASES))
            start = partial(self._ends.enter_context, server)
            self._redis = self._starter.submit(start).result()
        return f"redis://127.0.0.1:{self._redis.port}/{number}"

    def _postgres_url(self, number: int) -> str:
        if self._postgres is None:
            self._postgres = self._starter.submit(PostgresServer, POSTGRES_SETTINGS).result()
            self._ends.enter_context(closing(self._postgres))
        url = self._postgres.url
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE site_{number}".encode())
        return url.replace("/postgres", f"/site_{number}")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End the servers."""
        self._ends.close()
