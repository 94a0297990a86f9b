"""Hard time limits and cancels: of coroutines, threads and children, obedient or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.broker.requests import CancelAnswer
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.task import Task
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, TRACE_ENV, Supervised


@pytest.mark.parametrize("task", [tasks.hold_gil, tasks.sleep_deaf, tasks.swallow])
def test_an_attempt_that_ignores_its_limit_dies_alone(tmp_path: Path, task: Task[Any, Any]) -> None:
    """Its runner is killed, it has timed out, and its neighbours are charged nothing."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        neighbours = site.enqueue(tasks.wait.call(3.0, "n1"), tasks.wait.call(0.5, "n2"))
        runner = int(site.wait_lines("n1")[0][2])
        (culprit,) = site.enqueue(task.using(timeout="700ms").call(600.0))
        dead, *others = site.wait_final(culprit, *neighbours)
        assert (dead.state, dead.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED), dead
        assert [one.outcome for one in dead.attempts] == ["timed_out"], dead
        assert dead.attempts[0].pid == runner, dead
        assert dead.charges.errors == 1, dead
        for record in others:
            assert record.state is State.COMPLETED, record
            charges = record.charges
            assert (charges.errors, charges.crashes, charges.suspect) == (0, 0, False), record
        site.wait_health(
            worker,
            lambda one: one.ready and runner not in {each.pid for each in one.runners},
            "another runner in its place",
        )


def test_an_obedient_coroutine_costs_no_runner(tmp_path: Path) -> None:
    """A coroutine past its limit is ended by its runner, which lives on."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (late,) = site.enqueue(tasks.wait.using(timeout="300ms", retries=0).call(600.0))
        (dead,) = site.wait_final(late)
        assert [one.outcome for one in dead.attempts] == ["timed_out"], dead
        (after,) = site.wait_final(*site.enqueue(tasks.wait.call(0.0, "after")))
        assert after.attempts[0].pid == dead.attempts[0].pid


def test_a_lone_job_past_its_limit_dies_with_all_it_started(tmp_path: Path) -> None:
    """SIGKILL reaches programs in other sessions, whose parents are long gone."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (job,) = site.enqueue(tasks.lone_leaves.using(timeout="3s").call(600.0))
        child = int(site.wait_lines("leaver")[0][2])
        site.wait_lines("leaver-started")
        mark = f"PENSTOCK_CHILD_MARK={_variable(child, 'PENSTOCK_CHILD_MARK')}"
        name, _, value = mark.partition("=")
        assert len(processes.marked(name, value)) >= 3, "child, program, orphan"
        (dead,) = site.wait_final(job)
        assert [one.outcome for one in dead.attempts] == ["timed_out"], dead
        assert not processes.marked(name, value), site.report(job)


def test_a_lone_job_that_ignores_its_limit_is_killed(tmp_path: Path) -> None:
    """A child that holds the interpreter dies at its hard limit; the next job gets a new one."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        limited = tasks.lone.using(timeout="500ms", retries=0)
        (dead,) = site.wait_final(*site.enqueue(limited.call(600.0)))
        assert [one.outcome for one in dead.attempts] == ["timed_out"], dead
        (after,) = site.wait_final(*site.enqueue(tasks.lone.call(0.0)))
        assert after.attempts[0].pid != dead.attempts[0].pid


@pytest.mark.parametrize("task", [tasks.wait, tasks.work, tasks.lone])
def test_a_running_job_is_cancelled(tmp_path: Path, task: Task[Any, Any]) -> None:
    """A cancel reaches a coroutine, a thread and a child, and its process runs further jobs."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (job,) = site.enqueue(task.call(600.0, "victim"))
        site.wait_lines("victim")
        assert site.cancel(job) is CancelAnswer.REQUESTED
        (record,) = site.wait_final(job)
        assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR), record
        assert [one.outcome for one in record.attempts] == ["cancelled"], record
        site.wait_final(*site.enqueue(task.call(0.0)))
        assert "Traceback" not in worker.log(), worker.report()


@pytest.mark.parametrize("task", [tasks.sleep_deaf, tasks.swallow, tasks.hold_gil])
def test_a_cancel_that_is_ignored_is_enforced(tmp_path: Path, task: Task[Any, Any]) -> None:
    """A job that does not end after its cancel loses its runner; its neighbour is uncharged."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (neighbour,) = site.enqueue(tasks.wait.call(1.0, "neighbour"))
        site.wait_lines("neighbour")
        (job,) = site.enqueue(task.call(600.0, "victim"))
        site.wait_lines("victim")
        site.cancel(job)
        record, other = site.wait_final(job, neighbour)
        assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR), record
        assert len(record.attempts) == 1, record
        assert other.state is State.COMPLETED, other
        assert (other.charges.errors, other.charges.crashes) == (0, 0), other


def test_a_lone_job_that_ignores_its_cancel_is_killed(tmp_path: Path) -> None:
    """A child whose job swallows its cancel dies after the grace."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (job,) = site.enqueue(tasks.lone_swallow.call(600.0))
        site.wait_lines("lone-swallow")
        site.cancel(job)
        (record,) = site.wait_final(job)
        assert (record.state, len(record.attempts)) == (State.CANCELLED, 1), record
        assert "cancel" in str(record.attempts[0].error), record


def test_a_cancel_survives_its_worker(tmp_path: Path) -> None:
    """A cancel requested while the worker was dead ends the job when it is taken over."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.wait.call(600.0))
        site.wait_lines("wait")
        processes.kill_tree(worker.pid)
        site.cancel(job)
        site.start()
        (record,) = site.wait_final(job)
        assert record.state is State.CANCELLED, record
        eventually(
            lambda: not [one for one in site.lines() if one[:2] == ["wait", "2"]],
            within_s=SOON_S,
            what="no second start",
        )
        assert TRACE_ENV in site.extra


def _variable(pid: int, name: str) -> str:
    """Return a variable of the environment of a process."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.partition("=")[::2] for entry in entries)[name]


@pytest.mark.parametrize("setting", ["timeout", "soft_timeout"])
def test_a_setting_limits_tasks_that_name_no_limit(tmp_path: Path, setting: str) -> None:
    """In coroutines, threads and children alike; a task or call that says 0 has no limit."""
    with Supervised(tmp_path, **{setting: "1h"}) as site:
        site.start_ready(f"--{setting.replace('_', '-')}=700ms")
        late = [one.using(retries=0) for one in (tasks.wait, tasks.work, tasks.lone)]
        jobs = site.enqueue(
            *(one.call(600.0) for one in late),
            tasks.unlimited.call(1.5),
            tasks.lone.using(timeout=0, soft_timeout=0).call(1.5),
        )
        *dead, by_task, by_call = site.wait_final(*jobs)
        for record in dead:
            assert [one.outcome for one in record.attempts] == ["timed_out"], record
            is_soft = "SoftTimeLimit" in str(record.attempts[0].error)
            assert is_soft is (setting == "soft_timeout"), record
        assert (by_task.state, by_call.state) == (State.COMPLETED, State.COMPLETED), by_call
