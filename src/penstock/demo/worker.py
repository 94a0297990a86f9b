"""The demo's own worker: a real `penstock worker`, started, watched and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from penstock.config.quota import cpus
from penstock.demo.tasks import QUEUE
from penstock.errors import PenstockError

#: Two, so that the jobs of the killed one have somewhere to go at once.
_RUNNERS: Final = 2
#: Seconds for the worker to end after SIGTERM: its drain grace of 2 s, and some for a busy machine.
_STOP_S: Final = 15.0
#: Lines of the worker's log in an error.
_LOG_LINES: Final = 20


class WorkerEnded(PenstockError):
    """The demo's worker ended before its jobs did."""


class DemoWorker:
    """A running `penstock worker`.

    Attributes:
        pid: of the supervisor.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Take over a worker that was just started."""
        self.pid = process.pid
        self._process = process
        self._log = log

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            WorkerEnded: it does not; the message ends with the last lines of its log.
        """
        if self._process.poll() is None:
            return
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        tail = "\n  ".join(lines) or "(empty)"
        raise WorkerEnded(
            f"the worker ended with status {self._process.returncode}; its log, {self._log}, ends "
            f"with:\n  {tail}"
        )

    def kill_runner(self, pid: int) -> bool:
        """Send SIGKILL to a process of this worker; return whether it was one and was there."""
        try:
            # A pidfd first, then the question whose process it is: between question and signal the
            # number could not be given to another process.
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            family = psutil.Process(self.pid).children(recursive=True)
            if pid not in {process.pid for process in family}:
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False
        finally:
            os.close(handle)
        return True

    def stop(self) -> None:
        """Let it drain; end it if it takes too long. Returns when it is gone."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def serve(url: str, folder: Path, environ: Mapping[str, str]) -> Iterator[DemoWorker]:
    """Run a worker for the demo's tasks during a `with` block; its log is `worker.log`.

    Args:
        url: of the demo's broker.
        folder: working directory of the worker.
        environ: of this process; its PENSTOCK_* settings are for other workers.
    """
    log = folder / "worker.log"
    flags = {
        "--url": url,
        "--queues": QUEUE,
        "--processes": str(_RUNNERS),
        # One thread stands still until it is killed; the machine's cores are for the others.
        "--concurrency": str(max(4, cpus() + 1)),
        "--drain-grace": "2s",
        "--name": "demo",
    }
    command = [sys.executable, "-m", "penstock.cli", "worker", "penstock.demo.tasks:app"]
    for name, value in flags.items():
        command += [name, value]
    kept = {name: v for name, v in environ.items() if not name.startswith("PENSTOCK_")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # Ctrl-C is for the demo, which stops its worker itself.
            process_group=0,
        )
    worker = DemoWorker(process, log)
    try:
        yield worker
    finally:
        worker.stop()
