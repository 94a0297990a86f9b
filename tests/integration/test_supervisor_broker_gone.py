"""A broker that is gone for good under a running worker: one warning, and an end without it."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised
from tests.support.worker_process import WorkerProcess

#: Seconds of grace that no test here waits for: a worker that uses them up fails.
GRACE = "600s"
AWAY = "the broker does not answer"
BACK = "the broker answers again"


def remove(file: Path) -> None:
    """Remove a broker's file with its log, as a careless hand does."""
    for path in file.parent.glob(f"{file.name}*"):
        if path.is_file():
            path.unlink()


def warnings(worker: WorkerProcess, text: str) -> list[str]:
    """Return the warnings in its log that hold `text`."""
    return [line for line in worker.log().splitlines() if text in line and "WARNING" in line]


def wait_failures(worker: WorkerProcess, count: int) -> None:
    """Return once each of these duties has failed `count` times."""

    def look() -> bool:
        log = worker.log()
        return all(log.count(duty) >= count for duty in ("promote: ", "expire: ", "reclaim: "))

    eventually(look, within_s=SOON_S, what=f"{count} failures of each", state=worker.report)


def test_a_removed_file_is_told_once_and_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """One warning, never "answers again"; without jobs the worker ends at once, with success."""
    with Supervised(tmp_path, drain_grace=GRACE) as site:
        worker = site.start_ready()
        remove(site.file)
        worker.wait_log(AWAY, within_s=SOON_S)
        # Reads go on beside failed writes, and must not be taken for the broker's answer.
        wait_failures(worker, 3)
        worker.signal(signal.SIGINT)
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert len(warnings(worker, AWAY)) == 1, worker.report()
        assert BACK not in worker.log(), worker.report()
        assert "is killed" not in worker.log(), worker.report()


def test_a_job_gets_its_grace_although_the_broker_is_gone(tmp_path: Path) -> None:
    """A job that runs when its broker is gone runs to its end within the grace."""
    with Supervised(tmp_path, drain_grace="4s") as site:
        worker = site.start_ready()
        site.enqueue(tasks.wait.call(1.0, "a"))
        site.wait_lines("a")
        remove(site.file)
        worker.signal(signal.SIGINT)
        worker.wait_exit(SOON_S)
        assert site.wait_lines("a-done"), worker.report()
