"""Lone jobs: in children of their own, within the slots, with what they ask for, and their ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from penstock.core.ids import JobId
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised

#: How a child ends -> words that its stored error must hold.
ENDS = {
    "exit": "exited with code 3",
    "exit_zero": "exited with code 0",
    "segfault": "SIGSEGV",
    "abort": "SIGABRT",
    "sigkill": "SIGKILL",
    "close_files": "child",
}


@pytest.mark.parametrize("how", ENDS)
def test_every_end_of_a_child_is_a_crash_with_its_cause(tmp_path: Path, how: str) -> None:
    """A child that ends under its job charges one crash, says how, and the job runs again."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (record,) = site.wait_final(*site.enqueue(tasks.lone_end.call(how)))
        assert record.state is State.COMPLETED, record
        assert [one.outcome for one in record.attempts] == ["crashed", "succeeded"], record
        assert record.charges.crashes == 1, record
        first, second = record.attempts
        assert ENDS[how] in str(first.error), first
        assert first.pid != second.pid, "the next attempt had a child of its own"
        assert worker.pid not in (first.pid, second.pid), record
        if how in ("segfault", "abort"):
            assert "lone_end" in str(first.error and first.error.traceback), first


def test_three_crashes_alone_are_poison(tmp_path: Path) -> None:
    """A lone job that always kills its child is buried after three crashes."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (record,) = site.wait_final(*site.enqueue(tasks.lone_end.call("exit", times=99)))
        assert (record.state, record.reason) == (State.DEAD, Reason.POISON), record
        assert [one.outcome for one in record.attempts] == ["crashed"] * 3, record


def test_a_warm_child_is_used_again_and_replaced_by_count(tmp_path: Path) -> None:
    """Jobs that come one after the other share a child, until it has run its number of jobs."""
    with Supervised(tmp_path, child_jobs_max="3") as site:
        site.start_ready()
        pids = []
        for _ in range(5):
            (record,) = site.wait_final(*site.enqueue(tasks.lone.call(0.0)))
            pids.append(record.attempts[0].pid)
        assert len(set(pids[:3])) == 1, pids
        assert len(set(pids[3:])) == 1, pids
        assert pids[0] != pids[3], pids


def test_a_child_is_replaced_by_age(tmp_path: Path) -> None:
    """One that is as old as it may be runs no further job."""
    with Supervised(tmp_path, child_age_max="0s") as site:
        site.start_ready()
        records = [site.wait_final(*site.enqueue(tasks.lone.call(0.0)))[0] for _ in range(2)]
        assert len({one.attempts[0].pid for one in records}) == 2, records


@pytest.mark.parametrize(("asked", "nice"), [(None, 10), ("3", 3)])
def test_children_stand_back(tmp_path: Path, asked: str | None, nice: int) -> None:
    """They leave the CPUs to the worker: by 10, or as the setting says; their session does too."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    with Supervised(tmp_path, **({} if asked is None else {"child_nice": asked})) as site:
        worker = site.start_ready()
        (record,) = site.wait_final(*site.enqueue(tasks.lone_niceness.call()))
        assert msgspec.json.decode(record.result or b"") == [min(19, mine + nice), nice], record
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == mine


def test_an_idle_worker_is_woken_by_sets_that_it_never_saw(tmp_path: Path) -> None:
    """A job of a new size starts at once, not at the next slow poll."""
    with Supervised(tmp_path, poll="600s") as site:
        site.start_ready()
        for memory in ("64MiB", "128MiB", "256MiB"):
            site.wait_final(*site.enqueue(tasks.lone.using(memory=memory).call(0.0)))


def test_threads_and_children_share_the_slots(tmp_path: Path) -> None:
    """No more jobs run at once than there are slots, but for one thread kept for light work."""
    slots = 3
    with Supervised(tmp_path, concurrency=str(slots)) as site:
        site.start_ready()
        calls = [tasks.work.call(0.3, "thread") for _ in range(10)]
        calls += [tasks.lone.call(0.3, "child") for _ in range(10)]
        site.wait_final(*site.enqueue(*calls))
        running, most_children, most = {"thread": 0, "child": 0}, 0, 0
        for name, *_ in site.lines():
            kind, _, end = name.partition("-")
            running[kind] += -1 if end else 1
            most_children = max(most_children, running["child"])
            most = max(most, sum(running.values()))
        assert most <= slots + 1, site.lines()
        assert 1 < most_children <= slots, site.lines()


def test_light_work_goes_on_beside_children_in_every_slot(tmp_path: Path) -> None:
    """While children hold all slots a plain job still finds its thread."""
    with Supervised(tmp_path, concurrency="2") as site:
        site.start_ready()
        site.enqueue(tasks.lone.call(600.0, "a"), tasks.lone.call(600.0, "b"))
        site.wait_lines("a")
        site.wait_lines("b")
        (light,) = site.wait_final(*site.enqueue(tasks.work.call(0.0, "light")))
        assert light.state is State.COMPLETED, light


def test_a_slot_is_given_back_after_lone_work(tmp_path: Path) -> None:
    """Once no lone job waits all slots are threads again."""
    with Supervised(tmp_path, concurrency="3") as site:
        site.start_ready()
        site.wait_final(*site.enqueue(*(tasks.lone.call(0.0) for _ in range(3))))
        site.enqueue(*(tasks.work.call(600.0, "t") for _ in range(3)))
        site.wait_lines("t", count=3)


def test_a_child_sees_no_credentials(tmp_path: Path) -> None:
    """Nothing in a child's environment names the broker, nor is anything of it a setting."""
    with Supervised(tmp_path) as site:
        site.extra["OWN_VARIABLE"] = "kept"
        site.start_ready()
        (record,) = site.wait_final(*site.enqueue(tasks.lone_environment.call()))
        seen = msgspec.json.decode(record.result or b"", type=dict[str, str])
        assert seen["OWN_VARIABLE"] == "kept"
        assert "PENSTOCK_URL" not in seen
        assert not any(site.url in value for value in seen.values()), seen
        assert not {"NOTIFY_SOCKET", "PENSTOCK_PLAN_FD"} & set(seen)


def test_a_child_forgoes_privileges(tmp_path: Path) -> None:
    """No program that a lone job starts can gain privileges; a runner leaves that to its user."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        assert (site.result(tasks.lone_may_gain), site.result(tasks.may_gain)) == ("1", "0")


def test_the_kernel_ends_children_first(tmp_path: Path) -> None:
    """Where memory runs out, a child and its programs go before the supervisor and the runners."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        assert site.result(tasks.lone_score) == "800"
        own = Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip()
        assert int(own) < 800, own


def test_a_child_enqueues_notes_and_logs_through_its_supervisor(tmp_path: Path) -> None:
    """What a lone job asks for is done under the worker's credentials, and lands in its record."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (record,) = site.wait_final(*site.enqueue(tasks.lone_enqueues.call(3)))
        assert record.state is State.COMPLETED, record
        ids = msgspec.json.decode(record.result or b"", type=list[JobId])
        assert len(ids) == 3, record
        assert bytes(record.progress or b"") == b'{"count":3}', record
        assert record.log == ("enqueuing",), record
        eventually(
            lambda: all(one and one.state is State.COMPLETED for one in site.broker.peek(ids)),
            within_s=SOON_S,
            what="the jobs of the child to run",
            state=site.report,
        )


def test_a_checkpoint_outlives_the_crash_of_its_child(tmp_path: Path) -> None:
    """What a lone job kept before its child died, its next attempt finds."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (record,) = site.wait_final(*site.enqueue(tasks.lone_checkpoints.call()))
        assert [one.outcome for one in record.attempts] == ["crashed", "succeeded"], record
        assert bytes(record.result or b"") == b"42", record


def test_a_child_that_cannot_start_costs_no_attempts(tmp_path: Path) -> None:
    """While no child can be made ready, lone jobs wait in their queue instead of failing there."""
    with Supervised(tmp_path) as site:
        site.extra["SUPERVISED_BREAK_CHILDREN"] = "1"
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.lone.call(0.0))
        worker.wait_log("no child can be made", within_s=SOON_S)
        patience = time.monotonic() + 2.0
        eventually(lambda: time.monotonic() > patience, within_s=SOON_S, what="several tries")
        record = site.record(job)
        assert record.state is State.QUEUED, record
        assert record.attempts == (), record
        (light,) = site.wait_final(*site.enqueue(tasks.wait.call(0.0)))
        assert light.state is State.COMPLETED, light


def test_a_lone_job_wakes_the_supervisor(tmp_path: Path) -> None:
    """A lone job starts by its wake-up, not by the slow poll."""
    with Supervised(tmp_path, poll="300s") as site:
        site.start_ready()
        for _ in range(3):
            site.wait_final(*site.enqueue(tasks.lone.call(0.0)))
        delayed = tasks.lone.using(delay="300ms")
        site.wait_final(*site.enqueue(delayed.call(0.0)))
