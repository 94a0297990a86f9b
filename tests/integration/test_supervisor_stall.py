"""Runners that stand still: told about, kept leased, replaced in the end."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from penstock.core.lifecycle import State
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised


def test_a_stopped_runner_keeps_its_jobs(tmp_path: Path) -> None:
    """SIGSTOP of the runner alone: it is reported, nothing runs twice, and it may go on."""
    with Supervised(
        tmp_path,
        lease_ttl="1s",
        lease_extend="200ms",
        runner_stall_report="1s",
        runner_stall_kill="300s",
    ) as site:
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.wait.call(2.0))
        runner = int(site.wait_lines("wait")[0][2])
        # A second worker would take over whatever is not extended.
        site.start_ready()
        processes.send([runner], signal.SIGSTOP)
        worker.wait_log("stood still", within_s=SOON_S)
        assert "stopped by a signal (T)" in worker.log(), worker.report()
        leases_gone_at = time.monotonic() + 2.5
        eventually(lambda: time.monotonic() > leases_gone_at, within_s=SOON_S, what="two leases")
        assert site.record(job).state is State.RUNNING, site.report(job)
        health = site.wait_health(worker, lambda one: not one.live, "the standstill to show")
        assert "stands still" in health.wrong, health
        processes.send([runner], signal.SIGCONT)
        (record,) = site.wait_final(job)
        assert [one.outcome for one in record.attempts] == ["succeeded"], record
        worker.wait_log("moves again", within_s=SOON_S)


def test_the_stack_of_a_busy_runner_is_told_and_the_runner_is_replaced(tmp_path: Path) -> None:
    """A job that holds the interpreter is named by its stack, and its runner dies in the end."""
    with Supervised(tmp_path, runner_stall_report="1s", runner_stall_kill="3s") as site:
        worker = site.start_ready()
        jobs = site.enqueue(tasks.wait.call(600.0, "victim"))
        first = site.wait_lines("victim")[0]
        jobs += site.enqueue(tasks.hold_gil.call(600.0))
        worker.wait_log("stood still", within_s=SOON_S)
        worker.wait_log("in hold_gil", within_s=SOON_S)
        for job in jobs:
            attempt = site.wait_attempt(job, lambda one: one.outcome, "the end of an attempt")
            assert attempt.outcome == "crashed", attempt
            assert "stood still" in str(attempt.error), attempt
            assert site.record(job).charges.suspect, site.record(job)
            assert site.record(job).charges.crashes == 0, site.record(job)
        assert site.wait_lines("victim", "2")[0][2] != first[2]


def test_a_runner_that_locks_the_file_for_all_is_replaced_before_leases_run_out(
    tmp_path: Path,
) -> None:
    """A runner stopped inside a transaction is killed early; others keep their lease."""
    with Supervised(tmp_path, runner_stall_report="2s", lease_ttl="12s") as site:
        worker = site.start_ready("--processes", "2")
        (job,) = site.enqueue(tasks.wait.call(8.0, "long"))
        busy = int(site.wait_lines("long")[0][2])
        health = site.wait_health(worker, lambda one: len(one.runners) == 2, "two runners")
        other = next(one.pid for one in health.runners if one.pid != busy)
        site.stop_in_transaction(other)
        worker.wait_log("keeps the broker's file locked", within_s=SOON_S)
        (record,) = site.wait_final(job)
        assert [one.outcome for one in record.attempts] == ["succeeded"], record


def test_a_child_is_never_killed_for_standing_still(tmp_path: Path) -> None:
    """A lone job may hold its interpreter for longer than a runner may stand still."""
    with Supervised(tmp_path, runner_stall_report="500ms", runner_stall_kill="1s") as site:
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.lone.call(3.0))
        child = int(site.wait_lines("lone")[0][2])
        processes.send([child], signal.SIGSTOP)
        long_enough = time.monotonic() + 3.0
        eventually(lambda: time.monotonic() > long_enough, within_s=SOON_S, what="three stalls")
        processes.send([child], signal.SIGCONT)
        (record,) = site.wait_final(job)
        assert [one.outcome for one in record.attempts] == ["succeeded"], record
        assert worker.exit_code is None, worker.report()


def test_a_worker_stopped_past_its_leases_takes_new_ones(tmp_path: Path) -> None:
    """SIGSTOP of a whole tree past its lease: another runs the job, a late result is refused."""
    with Supervised(tmp_path, lease_ttl="1500ms", lease_extend="300ms") as site:
        workers = [site.start_ready(), site.start_ready()]
        (job,) = site.enqueue(tasks.work.call(3.0))
        first = site.wait_lines("work")[0]
        stopped = next(one for one in workers if int(first[2]) in one.tree())
        tree = processes.stop_tree(stopped.pid)
        second = site.wait_lines("work", "2")[0]
        assert second[2] != first[2]
        processes.send(tree, signal.SIGCONT)
        (record,) = site.wait_final(job)
        assert bytes(record.result or b"").decode() == second[2], record
        stopped.wait_log("was lost", within_s=SOON_S)
        site.wait_health(stopped, lambda one: one.ready and one.leases == 2, "new leases")
