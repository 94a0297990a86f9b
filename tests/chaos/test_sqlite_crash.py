"""F13: writers killed inside their commits, two processes on one file, and the file stays whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from penstock.broker.requests import BATCH_MAX, Retention
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.lifecycle import FINAL
from tests.chaos.commit_writer import check_file
from tests.support import history as h
from tests.support.checker import assert_holds
from tests.support.dump import take_dump
from tests.support.eventually import eventually
from tests.support.mini_worker import QUEUE, MiniWorker
from tests.support.summary import Publish, chaos_seed, summarise
from tests.support.worker_process import ROOT

#: Seconds for the whole scenario before it counts as hung.
LIMIT_S = 1_200


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start `commit_writer` with its errors in a pipe."""
    command = [sys.executable, "-m", "tests.chaos.commit_writer", str(folder), *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def used_pages(path: Path) -> int:
    """Return how many pages of the file hold something."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    pages, free = (
        next(connection.execute(f"PRAGMA {name}"))[0] for name in ("page_count", "freelist_count")
    )
    connection.close()
    return int(pages) - int(free)


def forget_everything(broker: SqliteBroker) -> None:
    """Prune until nothing final is left."""
    rules = [Retention(state=state, age_ms=0, count_max=0) for state in sorted(FINAL)]
    while broker.prune([QUEUE], rules, limit=BATCH_MAX):
        pass


@pytest.mark.timeout(LIMIT_S)
def test_writers_killed_inside_commits_lose_nothing(
    tmp_path: Path,
    count: Callable[[int, int], int],
    publish: Publish,
    request: pytest.FixtureRequest,
) -> None:
    """After each kill the file is whole, and in the end no accepted job is lost or unexplained."""
    seed = chaos_seed()
    began = time.monotonic()
    path = tmp_path / "penstock.db"
    empty = SqliteBroker.open(path)
    empty.register([QUEUE])
    empty.close()
    pages_before = used_pages(path)
    healthy = start(tmp_path, "healthy")
    request.addfinalizer(healthy.kill)
    doomed = start(tmp_path, "doomed", str(count(50, 400)), str(seed))
    request.addfinalizer(doomed.kill)
    _, errors = doomed.communicate(timeout=LIMIT_S)
    assert doomed.returncode == 0, errors
    # The healthy writer never saw an error: what was busy was waited for.
    assert healthy.poll() is None, healthy.communicate()[1]
    healthy.send_signal(signal.SIGTERM)
    _, errors = healthy.communicate(timeout=30)
    assert (healthy.returncode, errors) == (0, "")

    broker = SqliteBroker.open(path)
    with h.History(tmp_path / "history.jsonl") as history:
        worker = MiniWorker(broker, history)

        def is_quiet() -> bool:
            worker.turn(limit=100)
            waiting = ("blocked", "scheduled", "queued", "running", "retrying")
            # The leases of the dead run out, also where no job was under them.
            return len(broker.leases()) == 1 and not any(
                getattr(one, state) for one in broker.counts() for state in waiting
            )

        eventually(is_quiet, within_s=30, what="all jobs to end", state=broker.counts)
        worker.close()
    check_file(path, "the end")
    events = h.read_history(tmp_path / "history.jsonl")
    dump = take_dump(broker, leftovers=())
    assert_holds(events, dump, context=f"seed {seed}, {tmp_path}")
    forget_everything(broker)
    assert used_pages(path) <= 1.01 * pages_before
    publish(summarise("F13 killed inside commits", events, dump, time.monotonic() - began), events)
