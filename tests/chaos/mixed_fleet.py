"""Workers and producers of two releases on one broker."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from tests.support import history as h
from tests.support import processes, release
from tests.support.site import SITE_ENV, TIMERS, Site
from tests.support.worker_process import ROOT, WorkerProcess, worker_environment

Release = Literal["old", "new"]
APP: Final = "tests.chaos.upgrade_tasks:app"
#: Seconds for a worker to end in peace on a busy machine.
GONE_S: Final = 60.0


def environment(which: Release) -> dict[str, str]:
    """Return the variables under which a process runs a release."""
    return release.environment() if which == "old" else {}


class Producer:
    """A client of one release, told how many jobs to enqueue; use as a context."""

    def __init__(self, url: str, history: Path, which: Release, seed: int) -> None:
        """Start it. It opens the broker with its first job."""
        extra = {h.HISTORY_ENV: str(history), **environment(which)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.upgrade_client", url, which, str(seed)],
            cwd=ROOT,
            env=worker_environment({}, extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def begin(self, count: int) -> None:
        """Let it enqueue so many jobs."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n".encode())
        self._process.stdin.flush()

    def wait(self) -> None:
        """Return once it has."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the producer ended"

    def enqueue(self, count: int) -> None:
        """Let it enqueue so many jobs, and return once it has."""
        self.begin(count)
        self.wait()


class MixedFleet:
    """One worker of each release; use as a context: at its end all are gone.

    Attributes:
        site: the broker as the new release has it open, which migrates it; after `upgrade`.
    """

    site: Site

    def __init__(self, folder: Path, url: str) -> None:
        """Start with nobody, and leave the broker alone."""
        self._folder = folder
        self._url = url
        self._mark = secrets.token_hex(8)
        self._alive: dict[Release, WorkerProcess] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End every process."""
        if hasattr(self, "site"):
            self.site.__exit__(kind, error, at)
        for worker in self._alive.values():
            worker.end()
        processes.send([one.pid for one in processes.marked(SITE_ENV, self._mark)], signal.SIGKILL)

    def start_before_upgrade(self) -> None:
        """Start a worker of the old release on what no new code has opened yet."""
        temporary = self._folder / "tmp"
        temporary.mkdir()
        extra = {
            h.HISTORY_ENV: str(self._folder / "history.jsonl"),
            SITE_ENV: self._mark,
            "TMPDIR": str(temporary),
            **environment("old"),
        }
        env = worker_environment({"url": self._url, **TIMERS}, extra)
        self._alive["old"] = WorkerProcess(APP, name="old", folder=self._folder, env=env)

    def upgrade(self) -> None:
        """Open the broker with the new release, and start a worker of it."""
        self.site = Site(self._folder, url=self._url)
        self.site.mark, self.site.worker_app = self._mark, APP
        self.site.workers.append(self._alive["old"])
        self._start("new")

    def is_mixed(self) -> bool:
        """Tell whether the workers of now have done all that two releases can do to each other.

        Each has begun a job that either enqueued, and one a job that the other had begun.
        """
        releases = {pid: one for one, worker in self._alive.items() for pid in worker.tree()}
        both = len(self._alive)
        ways: set[tuple[str, str]] = set()
        tried: dict[str, set[str]] = {}
        for start in h.of_type(h.Started, self.site.events()):
            if one := releases.get(start.pid):
                tried.setdefault(start.job, set()).add(one)
                if len(ways) < both**2:
                    ways.add((one, str(self.site.record(start.job).spec.triggered_by)))
        moved = any(len(several) == both for several in tried.values())
        return moved and len(ways) == both**2

    def kill(self, which: Release) -> None:
        """SIGKILL the worker of a release with all that it runs."""
        self.site.kill(self._alive.pop(which))

    def replace_killed(self, which: Release) -> None:
        """Kill the worker of a release, and start another."""
        self.kill(which)
        self._start(which)

    def drain(self, which: Release) -> tuple[str, ...]:
        """End the worker of a release as a deploy does; return what the last one left behind."""
        worker = self._alive.pop(which)
        self.site.fault("drain", worker.tree())
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(GONE_S) == 0, worker.report()
        return () if self._alive else self.site.leftovers()

    def _start(self, which: Release) -> None:
        name = f"{which}{len(self.site.workers)}"
        self._alive[which] = self.site.start(name, environment=environment(which))
        self.site.wait_ready(self._alive[which])
