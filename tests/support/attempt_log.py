"""What a chaos job writes about itself: its start, its effect and its end, into the history."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from penstock import current_job
from tests.support import history as h


@cache
def history_of(pid: int) -> h.History:
    """Return the history of this process; keyed by pid, so that a fork opens its own."""
    assert pid == os.getpid()
    return h.History(Path(os.environ[h.HISTORY_ENV]))


class AttemptLog:
    """The running attempt, as it writes about itself."""

    def __init__(self) -> None:
        """Write that the attempt started, as the first act of user code."""
        job = current_job()
        self.pid = os.getpid()
        self.job, self.attempt = str(job.id), job.claim_number
        self._current = job
        self._history = history_of(self.pid)
        self._history.append(h.Started(job=self.job, attempt=self.attempt, pid=self.pid))

    def note_progress(self) -> None:
        """Hand progress over that names this attempt."""
        self._current.progress({"attempt": self.attempt})
        self._history.append(h.Noted(job=self.job, attempt=self.attempt))

    def lives(self) -> None:
        """Write that the attempt still runs."""
        self._history.append(h.Lived(job=self.job, attempt=self.attempt, pid=self.pid))

    def narrate(self) -> None:
        """Hand progress over, and a log line that names this attempt and the time."""
        self._current.log(f"{self.attempt} {h.boot_ns()}")
        self.note_progress()

    def checkpoint(self) -> None:
        """Keep a checkpoint that names this attempt."""
        self._current.checkpoint({"attempt": self.attempt})

    def effect(self) -> None:
        """Write that the attempt did what it is for."""
        self._history.append(h.SideEffect(job=self.job, attempt=self.attempt, pid=self.pid))

    def fault(self, kind: str) -> None:
        """Write that this process is about to harm itself: its attempts may be lost."""
        self._history.append(h.Fault(kind=kind, pids=(self.pid,)))

    def ended(self, how: str) -> None:
        """Write how user code ended."""
        self._history.append(h.Ended(job=self.job, attempt=self.attempt, pid=self.pid, how=how))

    def result(self) -> dict[str, Any]:
        """Return what the job returns: it names its attempt, so that a foreign result shows."""
        return {"attempt": self.attempt, "pid": self.pid}


@contextmanager
def logged() -> Iterator[AttemptLog]:
    """Write start and end of the attempt around user code."""
    log = AttemptLog()
    try:
        yield log
    except BaseException as error:
        log.ended(type(error).__name__)
        raise
    log.ended("returned")
