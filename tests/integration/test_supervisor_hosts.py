"""Two workers on one host: together they reserve no more memory than there is."""

from __future__ import annotations

import signal
from pathlib import Path

from penstock.config.quota import budget_bytes
from penstock.core.lifecycle import State
from tests.support import supervised_app as tasks
from tests.support.supervised import Supervised

#: More than half of what one worker may reserve here; nothing of it is touched.
MOST = round(budget_bytes() * 0.6)
LITTLE = "128MiB"
#: Each worker has room for all of these by its slots.
SETTINGS = {"concurrency": "4"}


def test_two_workers_do_not_reserve_the_machine_twice(tmp_path: Path) -> None:
    """A job that fits beside nothing waits until the other worker's has ended, and starts then."""
    with Supervised(tmp_path, **SETTINGS) as site:
        site.start_ready()
        site.start_ready()
        (first,) = site.enqueue(tasks.lone.using(memory=MOST).call(600.0, "first"))
        site.wait_lines("first")
        (second,) = site.enqueue(tasks.lone.using(memory=MOST).call(0.0, "second"))
        small = [tasks.lone.using(memory=LITTLE).call(0.0, "small") for _ in range(6)]
        site.wait_final(*site.enqueue(*small))
        # Each worker has looked by now, and found that it does not fit.
        assert site.record(second).state is State.QUEUED
        site.cancel(first)
        (record,) = site.wait_final(second)
        assert record.state is State.COMPLETED


def test_a_killed_worker_leaves_its_memory_to_the_others(tmp_path: Path) -> None:
    """What it had reserved is free again, although it could not say so."""
    with Supervised(tmp_path, **SETTINGS) as site:
        doomed = site.start_ready()
        (first,) = site.enqueue(tasks.lone.using(memory=MOST).call(600.0, "first"))
        site.wait_lines("first")
        site.start_ready()
        (second,) = site.enqueue(tasks.lone.using(memory=MOST, priority=9).call(0.0, "second"))
        doomed.signal(signal.SIGKILL)
        (record,) = site.wait_final(second)
        assert record.state is State.COMPLETED
        site.cancel(first)
