"""A broker that is gone for good under a running worker: one warning, and an end without it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from penstock.worker.supervisor.startup import EXIT_REFUSED, EXIT_UNAVAILABLE
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


def damage(file: Path) -> None:
    """Overwrite all of a file but its header."""
    size = file.stat().st_size
    with file.open("r+b") as pages:
        pages.seek(100)
        pages.write(b"\xab" * (size - 100))


def test_a_damaged_file_is_told_once_and_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A file that is damaged while a worker runs is one warning, and the worker ends at once."""
    with Supervised(tmp_path, drain_grace=GRACE) as site:
        worker = site.start_ready()
        damage(site.file)
        for log in tmp_path.glob("penstock.db-wal"):
            os.truncate(log, 0)
        worker.wait_log(AWAY, within_s=SOON_S)
        wait_failures(worker, 3)
        worker.signal(signal.SIGINT)
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert len(warnings(worker, AWAY)) == 1, worker.report()
        assert BACK not in worker.log(), worker.report()


def test_a_burst_does_not_wait_for_a_broker_that_is_gone(tmp_path: Path) -> None:
    """Once its leases have run out, a burst whose broker is gone ends with 69 and says why."""
    with Supervised(tmp_path, drain_grace=GRACE, lease_ttl="2s") as site:
        # What is due soon keeps the burst alive until its file is gone.
        site.enqueue(tasks.wait.using(delay="9s").call(0.0))
        worker = site.start_ready("--burst")
        remove(site.file)
        assert worker.wait_exit(SOON_S) == EXIT_UNAVAILABLE, worker.report()
        assert "burst: the broker has not answered" in worker.log(), worker.report()


def test_a_burst_does_not_wait_for_a_broker_that_cannot_be_reached(tmp_path: Path) -> None:
    """A burst that never reaches its broker ends with 69, after the time of a lease."""
    with Supervised(tmp_path, lease_ttl="1s", lease_extend="250ms") as site, site.locked_file():
        worker = site.start("--burst")
        assert worker.wait_exit(SOON_S) == EXIT_UNAVAILABLE, worker.report()
        assert "burst: the broker" in worker.log(), worker.report()


def test_a_damaged_file_is_refused_at_the_start(tmp_path: Path) -> None:
    """A worker does not begin on a file that cannot heal: 78 for the environment's URL."""
    with Supervised(tmp_path) as site:
        site.broker.close()
        damage(site.file)
        worker = site.start()
        assert worker.wait_exit(SOON_S) == EXIT_REFUSED, worker.report()
        assert "damaged" in worker.log(), worker.report()


@pytest.mark.parametrize("path", ["/proc/jobs.db", f"/proc/{'x' * 300}.db"])
def test_a_path_that_cannot_be_opened_is_refused_at_the_start(tmp_path: Path, path: str) -> None:
    """A file that can never be made is refused like a folder that is not there."""
    with Supervised(tmp_path) as site:
        worker = site.start(url=f"sqlite:///{path}")
        assert worker.wait_exit(SOON_S) == EXIT_REFUSED, worker.report()
        assert path in worker.log(), worker.report()


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
