"""Death of runners and of whole workers: who is charged, and how soon the jobs run again."""

from __future__ import annotations

import signal
from pathlib import Path

from penstock.core.job import Reason
from penstock.core.lifecycle import State
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.supervised import Supervised, wait_gone


def test_jobs_of_a_killed_runner_are_suspects_and_run_alone(tmp_path: Path) -> None:
    """A SIGKILLed runner's jobs are released uncharged, and run next in a child of their own."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        jobs = site.enqueue(tasks.wait.call(600.0, "a"), tasks.work.call(600.0, "b"))
        runner = int(site.wait_lines("a")[0][2])
        site.wait_lines("b")
        processes.send([runner], signal.SIGKILL)
        for job, name in zip(jobs, "ab", strict=True):
            second = site.wait_lines(name, "2")[0]
            record = site.record(job)
            assert int(second[2]) != runner
            assert record.attempts[0].outcome == "crashed", record
            assert f"runner {runner} was killed by SIGKILL" in str(record.attempts[0].error)
            assert (record.charges.crashes, record.charges.suspect) == (0, True), record
        health = site.wait_health(worker, lambda one: one.ready, "a new runner")
        busy = {child.job for child in health.children}
        assert busy == {job.id for job in jobs}, health


def test_a_job_that_kills_its_process_is_found_out_and_buried(tmp_path: Path) -> None:
    """A poison job takes one shared runner with it, then only itself, and ends dead."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (neighbour,) = site.enqueue(tasks.wait.call(3.0, "neighbour"))
        site.wait_lines("neighbour")
        (poison,) = site.enqueue(tasks.kill_own_process.call())
        dead, done = site.wait_final(poison, neighbour)
        assert (dead.state, dead.reason) == (State.DEAD, Reason.POISON), dead
        assert [one.outcome for one in dead.attempts] == ["crashed"] * 4, dead
        assert dead.charges.crashes == 3, dead
        pids = {line[2] for line in site.wait_lines("poison", count=4)}
        assert len(pids) == 4, "each crash had a process of its own"
        assert done.state is State.COMPLETED, done
        assert (done.charges.crashes, done.charges.errors) == (0, 0), done
        assert worker.exit_code is None, worker.report()


def test_a_new_worker_takes_over_from_a_dead_one_at_once(tmp_path: Path) -> None:
    """After SIGKILL of the whole tree a new worker runs the job, long before the lease runs out."""
    with Supervised(tmp_path, lease_ttl="600s") as site:
        old = site.start_ready()
        (job,) = site.enqueue(tasks.wait.call(5.0))
        first = site.wait_lines("wait")[0]
        processes.kill_tree(old.pid)
        wait_gone(old.pid, int(first[2]), state=old.report)
        site.start()
        second = site.wait_lines("wait", "2")[0]
        assert second[2] != first[2]
        record = site.record(job)
        assert record.attempts[0].outcome == "lost", record
        assert record.charges.lost, record
        assert not record.charges.suspect, record


def test_a_lone_job_of_a_dead_worker_is_charged(tmp_path: Path) -> None:
    """A job that ran alone in a child when its whole worker died is charged a crash."""
    with Supervised(tmp_path) as site:
        old = site.start_ready()
        (job,) = site.enqueue(tasks.lone.call(600.0))
        site.wait_lines("lone")
        processes.kill_tree(old.pid)
        site.start()
        site.wait_lines("lone", "2")
        record = site.record(job)
        assert record.attempts[0].outcome == "lost", record
        assert record.charges.crashes == 1, record


def test_a_runner_that_cannot_start_is_tried_again(tmp_path: Path) -> None:
    """A worker whose start hooks fail keeps trying, and works once they do."""
    with Supervised(tmp_path) as site:
        broken = Path(f"{site.trace}-broken")
        broken.touch()
        worker = site.start()
        health = site.wait_health(worker, lambda one: one.restarts >= 3, "three restarts")
        assert not health.ready, health
        (job,) = site.enqueue(tasks.wait.call(0.0))
        broken.unlink()
        site.wait_health(worker, lambda one: one.ready, "it to work")
        (record,) = site.wait_final(job)
        assert [one.outcome for one in record.attempts] == ["succeeded"], record


def test_nothing_outlives_its_supervisor(tmp_path: Path) -> None:
    """When the supervisor alone is killed, its runners and children die too."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        site.enqueue(tasks.lone.call(600.0), tasks.work.call(600.0))
        pids = [int(site.wait_lines(name)[0][2]) for name in ("lone", "work")]
        processes.send([worker.pid], signal.SIGKILL)
        wait_gone(*pids, state=site.report)


def test_a_dead_runner_of_a_living_worker_is_left_to_that_worker(tmp_path: Path) -> None:
    """Another worker does not count as lost what the supervisor of the dead runner saw."""
    with Supervised(tmp_path, reclaim_interval="20ms") as site:
        site.start_ready()
        (job,) = site.enqueue(tasks.wait.call(600.0))
        runner = int(site.wait_lines("wait")[0][2])
        other = site.start_ready()
        processes.send([runner], signal.SIGKILL)
        site.wait_lines("wait", "2")
        record = site.record(job)
        # It closes no lease of the living. Between the close by its own supervisor and its takeover
        # it may be quicker, and then knows less of the cause (`Reclaim.after_death`).
        assert "its lease is closed" not in other.log(), other.log()
        assert record.attempts[0].outcome in ("crashed", "lost"), record
        assert record.charges.suspect or record.charges.lost, record
