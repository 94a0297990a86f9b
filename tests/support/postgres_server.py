"""A real PostgreSQL server of the tests' own, in a folder of its own, on a free port.

`initdb` and `postgres` refuse to run as root; there they run as the user `postgres` of the Debian
package, or `nobody`.
"""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import psycopg

from tests.support.eventually import eventually
from tests.support.free_port import free_port
from tests.support.memory_folder import memory_folder
from tests.support.processes import kill_tree

#: Users that may run it where the tests run as root, best first.
_USERS: Final = ("postgres", "nobody")
#: Seconds until it must answer.
START_S: Final = 30.0
#: Seconds until it must have ended: on a busy disk each of its processes may wait for a write.
STOP_S: Final = 120.0


class PostgresServer:
    """One server, started; every connection of this machine is trusted.

    Attributes:
        port: on 127.0.0.1.
        prefix: words before the command of the next start, which must exec it.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        data: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Make a cluster and start it.

        Args:
            settings: of postgresql.conf; what is not named is as PostgreSQL has it.
            data: folder for its data, in one that its user can reach; None: a new one.
            prefix: see above.
        """
        self._folder = memory_folder("penstock-postgres-")
        self._data = self._folder / "data" if data is None else data
        self.prefix = prefix
        user = _user()
        self._uid = None if user is None else user.pw_uid
        self._gid = None if user is None else user.pw_gid
        if user is not None:
            self._data.mkdir(mode=0o700)
            for folder in (self._folder, self._data):
                os.chown(folder, user.pw_uid, user.pw_gid)
        self._settings = {"listen_addresses": "127.0.0.1", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        command = [program("initdb"), "-D", str(self._data), "-A", "trust", "-U", "penstock"]
        done = subprocess.run(
            [*command, "-E", "UTF8", "--no-sync"],
            capture_output=True,
            check=False,
            cwd=self._folder,
            user=self._uid,
            group=self._gid,
        )
        assert done.returncode == 0, done.stderr.decode()
        self.start()

    @property
    def pid(self) -> int | None:
        """Its first process; None where it has ended."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def url(self) -> str:
        """URL of the database that is always there."""
        return f"postgresql://penstock@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # It goes with the tests, even if they are killed.
        command = [*self.prefix, "setpriv", "--pdeathsig", "QUIT", program("postgres")]
        command += ["-D", str(self._data), "-p", str(self.port)]
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-k", str(self._folder), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                user=self._uid,
                group=self._gid,
            )
        eventually(self._answers, within_s=START_S, what="an answer", state=self.log)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGQUIT at once, as a crash; SIGINT with a clean end of sessions."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGCONT)
            os.kill(process.pid, how)
            process.wait(STOP_S)

    def kill(self) -> None:
        """SIGKILL all of its processes, as a crash of the machine does."""
        process, self._process = self._process, None
        assert process is not None
        kill_tree(process.pid)
        process.wait(START_S)

    def log(self) -> str:
        """Return what it said."""
        return (self._folder / "log").read_text(errors="replace")[-4_000:]

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@cache
def shared_server() -> PostgresServer:
    """Return the server of this test process: fast, and gone with it; it would not survive a crash.

    A test that stops its server, or asks what it survives, starts one of its own.
    """
    server = PostgresServer({"fsync": "off", "full_page_writes": "off", "max_connections": "200"})
    atexit.register(server.close)
    return server


@contextmanager
def fresh_database() -> Iterator[str]:
    """Yield the URL of an empty database on the shared server; it is dropped afterwards."""
    name, url = f"fresh_{secrets.token_hex(4)}", shared_server().url
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield url.replace("/postgres", f"/{name}")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def program(name: str) -> str:
    """Return the path of a program of PostgreSQL; Debian keeps them out of PATH."""
    found = shutil.which(name) or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    assert found, f"{name} is not installed: run scripts/servers"
    return found


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = next((known[name] for name in _USERS if name in known), None)
    assert found, f"PostgreSQL refuses root, and none of {_USERS} exists: run scripts/servers"
    return found
