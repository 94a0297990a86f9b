"""Budgets that are no whole number of MiB, and what was learned from runs that were too short."""

from __future__ import annotations

from pathlib import Path

from penstock.core.lifecycle import State
from tests.support import supervised_app as tasks
from tests.support.supervised import Supervised


def test_a_job_that_is_too_large_is_looked_at_once(tmp_path: Path) -> None:
    """A worker that finds so leaves it alone; it does not claim it again and again."""
    with Supervised(tmp_path, memory="1GB") as site:
        site.start_ready()
        (large,) = site.enqueue(tasks.lone.using(memory="1GiB").call())
        first = site.wait_attempt(large, lambda one: one.outcome, "the worker to look at it")
        assert first.outcome == "does_not_fit"
        # Each of these is claimed after a look at all sets.
        for _ in range(10):
            site.wait_final(*site.enqueue(tasks.lone.using(memory="64MiB").call()))
        record = site.record(large)
        assert (record.state, record.claim_number) == (State.QUEUED, 1), record


def test_a_job_as_large_as_its_worker_was_told_to_be_runs(tmp_path: Path) -> None:
    """The same words say the same size to both, also where they are no whole number of MiB."""
    with Supervised(tmp_path, memory="100MB") as site:
        site.start_ready()
        (one,) = site.enqueue(tasks.lone.using(memory="100MB").call())
        site.wait_final(one)
        record = site.record(one)
        assert (record.state, len(record.attempts)) == (State.COMPLETED, 1), record
