"""Starts contestants' processes, watches them from outside, and ends them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contestants import Contestant

#: Seconds that any step may take before the run is given up, not just slow.
STEP_LIMIT_S = 240
#: Seconds between looks at a contestant's stored results; 1 % of the shortest drain here.
LOOK_S = 0.02


def act(contestant: Contestant, folder: Path, action: str, **options: Any) -> dict[str, Any]:
    """Run one action of the contestant's script in a process of its own and return its answer."""
    command = [str(contestant.bin / "python"), "-m", "contract", contestant.script, action]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(
        command,
        env=contestant.environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=STEP_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        message = f"{contestant.name} {action} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextlib.contextmanager
def worker(contestant: Contestant, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the contestant's worker, and end it and all it started."""
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [str(contestant.bin / contestant.worker[0]), *contestant.worker[1:]],
            env=contestant.environment(folder),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until(what: str, probe: Any, folder: Path, process: subprocess.Popen[bytes]) -> Any:
    """Call `probe` until it returns something true, and return that.

    Raises:
        RuntimeError: the worker ended, or the step took longer than STEP_LIMIT_S.
    """
    limit = time.monotonic() + STEP_LIMIT_S
    while not (found := probe()):
        if process.poll() is not None or time.monotonic() > limit:
            log = (folder / "worker.log").read_text(errors="replace")[-2000:]
            message = f"{what}: did not happen\n{log}"
            raise RuntimeError(message)
        time.sleep(LOOK_S)
    return found


class Watch:
    """Counts a contestant's stored results by one cheap read of its database file."""

    def __init__(self, contestant: Contestant, folder: Path) -> None:
        """Open the file read-only; the contestants do not notice."""
        self._sql = contestant.done_sql
        self._connection = apsw.Connection(
            str(folder / "bench.db"), flags=apsw.SQLITE_OPEN_READONLY
        )
        self._connection.setbusytimeout(5_000)

    def done(self) -> int:
        """Return the number of stored results."""
        for (count,) in self._connection.execute(self._sql):
            return int(count)
        return 0

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def tree(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pids: list[int]) -> float:
    """Return user and system CPU seconds used by these processes so far."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def pss_mib(pids: list[int]) -> float:
    """Return the proportional set size of these processes together, in MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
