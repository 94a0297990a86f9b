"""A producer that goes on whatever the broker does, as users are told to write one."""

from __future__ import annotations

import threading
import time

from penstock import Job
from penstock.errors import OutcomeUnknown, QueueFull, Unavailable
from tests.chaos import tasks
from tests.support.site import Site

#: Seconds for the last calls, on a machine that is busy with other tests.
STOP_S = 300


class Producer:
    """Enqueues small batches one after the other until each is accepted, in a thread of its own.

    A key makes a repeat after an unknown outcome harmless, as users are told to do.

    Args:
        site: whose broker takes the jobs, and whose history each acceptance goes into.
        count: how many jobs there must be before it ends.
        durability: class asked for; None: the broker's.
        batch: jobs of one call.
        every_s: between two calls; more than the workers do in the same time would only wait.
        seconds: what each job takes.

    Attributes:
        jobs: the accepted ones.
        refused: calls that were told that nothing is stored, or that nobody knows.
        failures: what else was raised; nothing may be.
    """

    def __init__(
        self,
        site: Site,
        count: int,
        *,
        durability: str | None = None,
        batch: int = 1,
        every_s: float = 0.002,
        seconds: float = 0.02,
    ) -> None:
        """Start it."""
        self._site = site
        self._count = count
        self._durability = durability
        self._batch = batch
        self._every_s = every_s
        self._seconds = seconds
        self.jobs: list[Job[tasks.Report]] = []
        self.refused = 0
        self.failures: list[Exception] = []
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end once it has its count."""
        self._is_stopped.set()
        self._thread.join(STOP_S)
        assert not self._thread.is_alive()
        assert not self.failures, self.failures

    def _run(self) -> None:
        try:
            while len(self.jobs) < self._count or not self._is_stopped.is_set():
                self._enqueue(len(self.jobs))
                time.sleep(self._every_s)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failures.append(error)

    def _enqueue(self, first: int) -> None:
        numbers = range(first, first + self._batch)
        calls = [tasks.wait.using(key=f"job {number}").call(self._seconds) for number in numbers]
        while True:
            try:
                jobs = self._site.app.enqueue_many(calls, durability=self._durability)
            except (Unavailable, OutcomeUnknown, QueueFull):
                self.refused += 1
                time.sleep(0.02)
                continue
            self.jobs += jobs
            for job, call in zip(jobs, calls, strict=True):
                self._site.accepted(job, call)
            return
