"""Power loss for a Redis server: what its append-only file had not synced is gone.

A library preloaded into the server (`power_loss.c`) tells what each sync made safe; after SIGKILL
the file is cut to that. Only files that grow at their end can be treated so: the snapshot that
begins the append-only file is written and synced before the server answers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.redis_server import RedisServer

SOURCE = Path(__file__).with_name("power_loss.c")


def build_shim(folder: Path) -> Path:
    """Compile the library into `folder`."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler is not None, "no C compiler: scripts/servers installs one"
    made = folder / "power_loss.so"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
    done = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def synced_bytes(log: Path) -> dict[Path, int]:
    """Return how much of each file the last sync or cut of it left safe."""
    lines = (line.split(" ", 1) for line in log.read_text().splitlines())
    return {Path(path): int(size) for size, path in lines}


class FragileRedis(RedisServer):
    """A server whose power can go.

    Args:
        folder: for its data, its log, and the library.
        settings: as of `RedisServer`.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "synced"
        self._log.touch()
        environment = {"LD_PRELOAD": str(build_shim(folder)), "POWER_LOSS_LOG": str(self._log)}
        # The append-only file must only grow: it is not to be written anew.
        settings = ("--auto-aof-rewrite-percentage", "0", *settings)
        super().__init__(folder, *settings, environment=environment)

    def cut_power(self) -> int:
        """Kill the server and drop what was not synced; return how many bytes that were."""
        self.kill()
        safe = synced_bytes(self._log)
        lost = 0
        for file in (self.folder / "appendonlydir").glob("*.incr.aof"):
            size, kept = file.stat().st_size, safe.get(file, 0)
            lost += max(0, size - kept)
            os.truncate(file, min(size, kept))
        return lost
