"""A real Redis server of the tests' own: free port on the loopback, data in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as NotConnected

from tests.support.eventually import eventually
from tests.support.free_port import free_port
from tests.support.memory_folder import memory_folder

#: What `deploy/redis/redis.conf` asks for, as far as a test on one machine can.
SETTINGS = ("--maxmemory-policy", "noeviction", "--appendonly", "yes", "--save", "")


class RedisServer:
    """One server process.

    Args:
        folder: for its data and its log.
        settings: further arguments, which win over `SETTINGS`.
        environment: further variables.
        prefix: words before the command, which must exec it; may be changed between two starts.
    """

    def __init__(
        self,
        folder: Path,
        *settings: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is missing: scripts/servers installs it"
        self.port = free_port()
        self.folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self.prefix = prefix
        self._command = [
            program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder),
            "--logfile", str(folder / "redis.log"), *SETTINGS, *settings,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """Return a client of redis-py, for looking at what is stored."""
        return Redis.from_url(self.url)

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        self.process = subprocess.Popen(
            [*self.prefix, *self._command], stdout=subprocess.DEVNULL, env=self._environment
        )
        with closing(self.client()) as client:
            eventually(lambda: self._answers(client), within_s=20, what="an answer of Redis")

    def _answers(self, client: Redis) -> bool:
        assert self.process is not None
        log = self.folder / "redis.log"
        assert self.process.poll() is None, log.read_text() if log.exists() else "it has ended"
        try:
            return bool(client.ping())
        except (NotConnected, BusyLoadingError):
            return False

    def kill(self) -> None:
        """End the process as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop_still(self) -> None:
        """Let the process stand still: what it is sent is taken by the kernel, and not answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `stop_still`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process, if it runs.

        Not by SIGTERM, which a server refuses while it writes its first append-only file.
        """
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextmanager
def redis_server(folder: Path, *settings: str) -> Iterator[RedisServer]:
    """Run a server for as long as the block lasts."""
    server = RedisServer(folder, *settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def redis_in_memory(*settings: str) -> Iterator[RedisServer]:
    """Run a server whose data is in memory, where there is room for it."""
    folder = memory_folder("penstock-redis-")
    try:
        with redis_server(folder, *settings) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
