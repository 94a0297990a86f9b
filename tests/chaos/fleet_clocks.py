"""A fleet whose hosts disagree about the time: workers, a client, and steps of their clocks."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import cycle
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from penstock.broker.requests import LeaseFacts
from penstock.worker.supervisor.file_lock import write_lock_holders
from tests.chaos import clock_tasks
from tests.support import history as h
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.shifted_clock import HOUR_S, ShiftedClock
from tests.support.site import START_S, Site
from tests.support.worker_process import ROOT, WorkerProcess, worker_environment

#: Which clock is stepped, and by how many hours. All end where they began, and the last worker's
#: is never behind another's at the end: on SQLite it finds due whatever any of them wrote.
STEPS: Final = ((0, 1), (1, -1), (2, -1), (0, -1), (1, 1), (2, 1))


class Fleet:
    """Workers behind, on and ahead of true time, and a client that is ahead.

    Use as a context: at its end the client is gone.
    """

    def __init__(self, site: Site, seed: int) -> None:
        """Start everything, and return once the workers take jobs."""
        self.site = site
        site.app.include(clock_tasks)
        shifts = (-HOUR_S, 0, HOUR_S)
        self.clocks = [
            ShiftedClock(site.folder / f"clock{place}", shift) for place, shift in enumerate(shifts)
        ]
        self.workers = [site.start(environment=clock.environment) for clock in self.clocks]
        self.client_clock = ShiftedClock(site.folder / "client-clock", HOUR_S)
        # Not marked as the site's: it outlives the drained workers, and is ended here.
        extra = {h.HISTORY_ENV: str(site.history.path), **self.client_clock.environment}
        self._client = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.clock_client", site.url, str(seed)],
            cwd=ROOT,
            env=worker_environment({}, extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for worker in self.workers:
            site.wait_ready(worker)
        self._steps = cycle(STEPS)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End the client."""
        self._client.kill()
        self._client.communicate()

    def send(self, *words: object) -> None:
        """Let the client begin something."""
        assert self._client.stdin is not None
        self._client.stdin.write(f"{' '.join(map(str, words))}\n".encode())
        self._client.stdin.flush()

    def receive(self) -> Any:
        """Return the client's next answer. Any: JSON."""
        assert self._client.stdout is not None
        line = self._client.stdout.readline()
        assert line, f"the client ended\n{self.site.report()}"
        return msgspec.json.decode(line)

    def ask(self, *words: object) -> Any:
        """Let the client do something, and return its answer."""
        self.send(*words)
        return self.receive()

    def step(self) -> None:
        """Set one worker's clock."""
        place, hours = next(self._steps)
        self.site.fault("clock_step", ())
        self.clocks[place].step(hours * HOUR_S)

    def stop(self, worker: WorkerProcess) -> tuple[list[int], list[LeaseFacts], int]:
        """SIGSTOP a worker's tree between two writes.

        Returns:
            Its pids; its leases just after; and when these were asked for, in boot nanoseconds.
        """

        def look() -> list[int]:
            stopped = processes.stop_tree(worker.pid)
            if write_lock_holders(self.site.folder / "penstock.db") & set(stopped):
                processes.send(stopped, signal.SIGCONT)
                return []
            return stopped

        what = f"{worker.name} to be stopped while it writes nothing"
        stopped = eventually(look, within_s=START_S, what=what)
        self.site.fault("sigstop", stopped)
        asked_ns = h.boot_ns()
        leases = [one for one in self.site.broker.leases() if one.owner.pid in stopped]
        return stopped, leases, asked_ns
