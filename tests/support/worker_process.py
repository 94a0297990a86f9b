"""A real worker as an operating system sees it: started, signalled, killed, waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock.worker.supervisor.health import Health, health_dir, health_sockets, read_health
from tests.support import processes
from tests.support.eventually import DeadlinePassed, eventually
from tests.support.history import boot_ns

ROOT = Path(__file__).resolve().parents[2]
#: Bytes of a worker's log that a failure prints: its last minutes, not its life.
LOG_BYTES_PRINTED = 6_000

#: Variables of the tester that a worker is given.
KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR")


class WorkerProcess:
    """One `penstock worker`, with its log in a file.

    Attributes:
        pid: of the process that was started: the supervisor.
        started_ns: boot time just before it was started, as in the history.
    """

    def __init__(
        self,
        app: str,
        *,
        name: str,
        folder: Path,
        env: Mapping[str, str],
        args: Sequence[str] = (),
        cwd: Path = ROOT,
        under: Sequence[str] = (),
    ) -> None:
        """Start it in folder `cwd`, by way of the command `under`; it is not ready yet."""
        self.name = name
        self._temporary = Path(env["TMPDIR"])
        self.log_path = folder / f"{name}.log"
        command = [*under, str(Path(sys.executable).with_name("penstock")), "worker", app, *args]
        self.started_ns = boot_ns()
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=cwd,
                env={**env, "PENSTOCK_WORKER_NAME": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def tree(self) -> list[int]:
        """Return its pid and those of its descendants."""
        return [self.pid, *processes.descendants(self.pid)]

    def signal(self, number: signal.Signals) -> None:
        """Signal the supervisor alone."""
        self._popen.send_signal(number)

    def wait_exit(self, within_s: float) -> int:
        """Return the exit status once it has ended.

        Raises:
            DeadlinePassed: it has not; the message holds its tree and the end of its log.
        """
        try:
            return self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            message = f"waited {within_s:g} s for {self.name} to end\n{self.report()}"
            raise DeadlinePassed(message) from None

    def log(self) -> str:
        """Return its whole log."""
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text: str, *, within_s: float) -> None:
        """Return once `text` is in its log."""
        what = f"{text!r} in the log of {self.name}"
        eventually(lambda: text in self.log(), within_s=within_s, what=what, state=self.report)

    def health(self) -> Health:
        """Return what it says of itself, over its socket.

        Raises:
            Unavailable: it does not answer.
        """
        folder = health_dir({"TMPDIR": str(self._temporary)})
        (path,) = (one for one in health_sockets(folder) if one.name.startswith(f"{self.pid}-"))
        return read_health(path)

    def report(self) -> str:
        """Return its processes and the end of its log, for failures."""
        import psutil

        lines = [f"worker {self.name}: exit code {self.exit_code}"]
        for pid in self.tree():
            try:
                lines.append("  " + processes.describe(psutil.Process(pid)))
            except psutil.NoSuchProcess:
                lines.append(f"  pid {pid} has ended")
        return "\n".join([*lines, "  log:", self.log()[-LOG_BYTES_PRINTED:]])

    def end(self) -> None:
        """Kill what is left of it and reap it."""
        if self._popen.poll() is None:
            processes.kill_tree(self.pid)
        self._popen.wait(10)


def worker_environment(settings: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: settings by name, nothing of the tester's own."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    named = {f"PENSTOCK_{name.upper()}": value for name, value in settings.items()}
    return {**kept, "PYTHONUNBUFFERED": "1", **named, **extra}
