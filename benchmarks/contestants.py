"""Who is measured: environment, script and worker command of each contestant on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE / "peers"
LOCKS = HERE / "locks"
ENVIRONMENTS = HERE.parent / ".cache" / "benchmarks"


@dataclass(frozen=True)
class Contestant:
    """One system under one durability class.

    Attributes:
        name: as shown in the tables.
        script: module of `peers/` that answers `contract.run`.
        durability: "local" or "fsync".
        worker: arguments after the environment's bin folder.
        done_sql: counts the stored results in its database file.
        lock: hash-locked requirements of its environment; None: Penstock's own.
    """

    name: str
    script: str
    durability: str
    worker: tuple[str, ...]
    done_sql: str
    lock: str | None

    @property
    def bin(self) -> Path:
        """Folder of the interpreter and the worker's command."""
        if self.lock is None:
            return Path(sys.executable).parent
        return ENVIRONMENTS / self.lock / "bin"

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment of its processes for a run in `folder`."""
        return {
            **os.environ,
            "BENCH_DATABASE": str(folder / "bench.db"),
            "BENCH_DURABILITY": self.durability,
            "BENCH_MARKS": str(folder),
            "PYTHONPATH": str(PEERS),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
        }


def install(lock: str) -> None:
    """Make the environment of one lock file, once."""
    target = ENVIRONMENTS / lock
    stamp = target / "installed"
    text = (LOCKS / f"{lock}.txt").read_text()
    if stamp.exists() and stamp.read_text() == text:
        return
    venv.create(target, with_pip=True, clear=True)
    subprocess.run(
        [target / "bin" / "pip", "install", "-q", "--require-hashes", "-r", LOCKS / f"{lock}.txt"],
        check=True,
    )
    stamp.write_text(text)


def all_contestants() -> list[Contestant]:
    """Return everybody who is measured on SQLite, Penstock first."""
    penstock = ("penstock", "worker", "penstock_sqlite:app", "--log-level", "warning")
    huey = ("huey_consumer", "huey_sqlite.huey", "-k", "thread", "-w", "1", "-d", "0.005", "-m",
            "0.005", "-q")  # fmt: skip
    taskito = ("taskito", "worker", "--app", "taskito_sqlite:queue")
    ours = "SELECT coalesce(sum(jobs), 0) FROM counter WHERE state = 'completed'"
    theirs = "SELECT count(*) FROM kv"
    rust = (
        "SELECT (SELECT count(*) FROM jobs WHERE status = 2)"
        " + (SELECT count(*) FROM archived_jobs WHERE status = 2)"
    )
    return [
        Contestant("penstock", "penstock_sqlite", "local", penstock, ours, None),
        Contestant("penstock", "penstock_sqlite", "fsync", penstock, ours, None),
        Contestant("huey", "huey_sqlite", "local", huey, theirs, "huey"),
        Contestant("huey", "huey_sqlite", "fsync", huey, theirs, "huey"),
        Contestant("taskito", "taskito_sqlite", "local", taskito, rust, "taskito"),
    ]
