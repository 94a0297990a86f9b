"""What a contestant is: one system, one way to run it, and the environment it lives in."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.stores import Place

HERE = Path(__file__).parent
PEERS = HERE / "peers"
LOCKS = HERE / "locks"
ENVIRONMENTS = HERE.parent / ".cache" / "benchmarks"
#: The environment of what runs on Node, locked by npm.
NODE = "node"

#: (place, queues served, jobs put in) -> stored results, by one cheap read from outside.
Done = Callable[[Any, tuple[str, ...], int], int]


@dataclass(frozen=True)
class Contestant:
    """One system, tuned or as it comes, or under one durability class.

    Attributes:
        name: as shown in the tables.
        variant: "local" or "fsync" on SQLite, "tuned" or "default" on a server, else its mode.
        script: module of `peers/` that answers `contract.run`, or a file for Node.
        worker: command of the worker, its first word from the environment's bin folder;
            `{queues}` stands for the queues, an argument each, `{queues,}` for all in one,
            `{peers}` for the folder of the scripts.
        done: counts the stored results.
        lock: name of the lock file of its environment; None: Penstock's own.
        drain_jobs: jobs of one drain; slow systems get fewer.
        measures: what it takes part in; None: everything that its script can do.
        prepare: its script has tables to make in a new database.
        variables: more of its environment; `{url}` stands for the place's URL.
        queues: how many queues are filled and served.
    """

    name: str
    variant: str
    script: str
    worker: tuple[str, ...]
    done: Done
    lock: str | None
    drain_jobs: int
    measures: frozenset[str] | None = None
    prepare: bool = False
    variables: tuple[tuple[str, str], ...] = ()
    queues: int = 1

    @property
    def key(self) -> tuple[str, str]:
        """Name and variant: what tells contestants of one run apart."""
        return (self.name, self.variant)

    @property
    def bin(self) -> Path:
        """Folder of the interpreter and the worker's command."""
        if self.lock is None:
            return Path(sys.executable).parent
        if self.lock == NODE:
            return Path(shutil.which("node") or "node").parent
        return ENVIRONMENTS / self.lock / "bin"

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The queues that are filled and served."""
        return tuple(f"q{number}" for number in range(self.queues))

    def script_command(self, action: str) -> list[str]:
        """Return the command that runs one action of its script."""
        if self.lock == NODE:
            return [str(self.bin / "node"), str(PEERS / self.script), action]
        return [str(self.bin / "python"), "-m", "contract", self.script, action]

    def worker_command(self) -> list[str]:
        """Return the command that starts its worker on its queues."""
        words = [str(self.bin / self.worker[0])]
        for word in self.worker[1:]:
            if word == "{queues}":
                words += self.queue_names
            else:
                joined = ",".join(self.queue_names)
                words.append(word.replace("{queues,}", joined).replace("{peers}", str(PEERS)))
        return words

    def environment(self, place: Place) -> dict[str, str]:
        """Return the environment of its processes for a run on `place`."""
        return {
            **os.environ,
            "BENCH_URL": place.url,
            "BENCH_VARIANT": self.variant,
            "BENCH_QUEUES": ",".join(self.queue_names),
            "BENCH_MARKS": str(place.folder),
            "NODE_PATH": str(ENVIRONMENTS / NODE / "node_modules"),
            "PYTHONPATH": str(PEERS),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            **{name: value.replace("{url}", place.url) for name, value in self.variables},
        }


def install(lock: str) -> None:
    """Make the environment of one lock file, once.

    Raises:
        RuntimeError: it could not be made; the message is the installer's.
    """
    source = LOCKS / NODE / "package-lock.json" if lock == NODE else LOCKS / f"{lock}.txt"
    target = ENVIRONMENTS / lock
    stamp = target / "installed"
    text = source.read_text()
    if stamp.exists() and stamp.read_text() == text:
        return
    if lock == NODE:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(LOCKS / NODE, target)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    else:
        venv.create(target, with_pip=True, clear=True)
        command = [str(target / "bin" / "pip"), "install", "-q", "--require-hashes"]
        command += ["-r", str(source)]
    try:
        subprocess.run(command, cwd=target, check=True, capture_output=True, text=True)
    except FileNotFoundError as missing:
        raise RuntimeError(f"{command[0]} is not there: {missing}") from missing
    except subprocess.CalledProcessError as failed:
        raise RuntimeError(f"installation failed:\n{failed.stderr[-2000:]}") from failed
    stamp.write_text(text)


def versions(lock: str) -> dict[str, str]:
    """Return package -> version of one lock file."""
    if lock == NODE:
        packages = json.loads((LOCKS / NODE / "package-lock.json").read_text())["packages"]
        return {
            name.removeprefix("node_modules/"): facts["version"]
            for name, facts in packages.items()
            if name == "node_modules/bullmq"
        }
    text = (LOCKS / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE))
