"""The end of a worker: drain, second signal, quiet mode, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from penstock.core.lifecycle import State
from penstock.worker.supervisor.health import health_dir, health_sockets
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, TRACE_ENV, Supervised

#: Seconds by which a worker has ended after its grace; two are promised, the rest is the machine's.
ENDED_S = 10.0


def test_drain_lets_short_jobs_finish_and_releases_long_ones(tmp_path: Path) -> None:
    """After SIGTERM what fits the grace completes once; the rest is queued again, uncharged."""
    with Supervised(tmp_path, drain_grace="2s") as site:
        worker = site.start_ready()
        short = site.enqueue(tasks.wait.call(1.0, "a"), tasks.work.call(1.0, "b"))
        short += site.enqueue(tasks.lone.call(1.0, "c"))
        long = site.enqueue(tasks.wait.call(600.0, "d"), tasks.work.call(600.0, "e"))
        long += site.enqueue(tasks.lone.call(600.0, "f"))
        for name in "abcdef":
            site.wait_lines(name)
        tree = worker.tree()
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(ENDED_S) == 0, worker.report()
        for job in short:
            record = site.record(job)
            assert record.state is State.COMPLETED, record
            assert len(record.attempts) == 1, record
        for job in long:
            record = site.record(job)
            assert record.state is State.QUEUED, record
            assert record.attempts[0].outcome == "interrupted", record
            charges = record.charges
            assert (charges.errors, charges.crashes, charges.suspect) == (0, 0, False), record
        assert not any(processes.is_alive(pid) for pid in tree), worker.report()
        assert not processes.marked(TRACE_ENV, str(site.trace))
        assert list(site.broker.leases()) == [], site.report()
        assert health_sockets(health_dir({"TMPDIR": str(tmp_path)})) == []


def test_a_second_signal_releases_everything_at_once(tmp_path: Path) -> None:
    """The worker does not wait for its grace after the second SIGTERM; nothing is charged."""
    with Supervised(tmp_path, drain_grace="600s") as site:
        worker = site.start_ready()
        jobs = site.enqueue(tasks.wait.call(600.0, "a"), tasks.work.call(600.0, "b"))
        jobs += site.enqueue(tasks.lone.call(600.0, "c"), tasks.sleep_deaf.call(600.0, "d"))
        for name in "abcd":
            site.wait_lines(name)
        worker.signal(signal.SIGTERM)
        worker.wait_log("draining", within_s=SOON_S)
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(ENDED_S) == 0, worker.report()
        for job in jobs:
            record = site.record(job)
            assert record.state is State.QUEUED, record
            assert record.attempts[0].outcome == "interrupted", record
            assert (record.charges.errors, record.charges.crashes) == (0, 0), record


def test_a_runner_that_cannot_hear_is_killed_in_time(tmp_path: Path) -> None:
    """A job that holds the interpreter does not hold up the end; it goes back uncharged."""
    with Supervised(tmp_path, drain_grace="500ms") as site:
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.hold_gil.call(600.0))
        site.wait_lines("gil")
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(ENDED_S) == 0, worker.report()
        record = site.record(job)
        assert (record.state, record.attempts[0].outcome) == (State.QUEUED, "interrupted"), record
        assert not record.charges.suspect, record


def test_a_signal_to_the_whole_group_is_still_a_drain(tmp_path: Path) -> None:
    """Init systems signal every process of a service; runners and children leave that to theirs."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        jobs = site.enqueue(tasks.wait.call(1.0, "a"), tasks.work.call(1.0, "b"))
        jobs += site.enqueue(tasks.lone.call(1.0, "c"))
        for name in "abc":
            site.wait_lines(name)
        processes.send(worker.tree(), signal.SIGTERM)
        assert worker.wait_exit(ENDED_S) == 0, worker.report()
        for job in jobs:
            record = site.record(job)
            assert record.state is State.COMPLETED, record
            assert len(record.attempts) == 1, record


def test_quiet_claims_nothing_and_cont_goes_on(tmp_path: Path) -> None:
    """After SIGTSTP running jobs go on and nothing new starts; SIGCONT takes it back."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (running,) = site.enqueue(tasks.wait.call(1.0, "early"))
        site.wait_lines("early")
        worker.signal(signal.SIGTSTP)
        site.wait_health(worker, lambda one: one.phase == "quiet" and not one.ready, "quiet")
        site.wait_final(running)
        late = site.enqueue(tasks.wait.call(0.0), tasks.work.call(0.0), tasks.lone.call(0.0))
        # Three polls: enough for whoever still claims to be caught at it.
        quiet_until = time.monotonic() + 1.5
        eventually(lambda: time.monotonic() > quiet_until, within_s=SOON_S, what="three polls")
        assert [site.record(job).state for job in late] == [State.QUEUED] * 3, site.report(*late)
        worker.signal(signal.SIGCONT)
        for record in site.wait_final(*late):
            assert record.state is State.COMPLETED, record


@pytest.mark.parametrize("delay_ms", [0, 30, 100, 300])
def test_a_signal_at_any_moment_of_the_start_ends_well(tmp_path: Path, delay_ms: int) -> None:
    """SIGTERM at boot, in a claim or in a commit: exit code 0, and no job is lost or charged."""
    with Supervised(tmp_path, drain_grace="500ms") as site:
        jobs = site.enqueue(*(tasks.work.call(0.01) for _ in range(200)))
        worker = site.start()
        worker.wait_log("serves", within_s=SOON_S)
        due = time.monotonic() + delay_ms / 1000
        eventually(
            lambda: time.monotonic() >= due, within_s=SOON_S, what="the moment", every_s=0.001
        )
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(ENDED_S) == 0, worker.report()
        for job in jobs:
            record = site.record(job)
            assert record.state in (State.QUEUED, State.COMPLETED), record
            assert (record.charges.errors, record.charges.crashes) == (0, 0), record
            done = [one for one in record.attempts if one.outcome == "succeeded"]
            assert len(done) == (record.state is State.COMPLETED), record


def test_systemd_is_told(tmp_path: Path) -> None:
    """READY comes once jobs are taken, WATCHDOG while the loops move, STOPPING at the drain."""
    path = tmp_path / "notify"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        Supervised(tmp_path) as site,
    ):
        receiver.bind(str(path))
        receiver.settimeout(SOON_S)
        site.extra |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        worker = site.start()
        assert receiver.recv(100) == b"READY=1", worker.report()
        assert receiver.recv(100) == b"WATCHDOG=1", worker.report()
        worker.signal(signal.SIGTERM)
        while (told := receiver.recv(100)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1", worker.report()
        assert worker.wait_exit(ENDED_S) == 0


def test_orphans_do_not_stay_zombies(tmp_path: Path) -> None:
    """A process that a job leaves behind is inherited by the supervisor, and reaped at its end."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.leave_orphan.call())
        (pid,) = [int(one[1]) for one in site.wait_lines("orphan")]
        site.wait_final(job)
        processes.send([pid], signal.SIGKILL)
        eventually(
            lambda: not Path(f"/proc/{pid}").exists(),
            within_s=SOON_S,
            what=f"orphan {pid} to be reaped by {os.getpid()}",
            state=worker.report,
        )
