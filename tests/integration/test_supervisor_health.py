"""The health socket: what a worker says of itself, to whom, and when it is not well."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from penstock.errors import Unavailable
from penstock.worker.supervisor.health import health_dir, health_sockets, read_health
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised


def test_a_worker_describes_itself(tmp_path: Path) -> None:
    """Runners, children, leases and slots stand in its document, and counters move."""
    with Supervised(tmp_path, concurrency="3") as site:
        worker = site.start_ready("--processes", "2")
        site.enqueue(tasks.wait.call(600.0), tasks.lone.call(600.0))
        health = site.wait_health(
            worker,
            lambda one: len(one.children) == 1 and sum(each.running for each in one.runners) == 1,
            "both jobs to show",
        )
        assert health.pid == worker.pid
        assert health.worker.startswith("w0@"), health
        assert (health.phase, health.live, health.wrong) == ("running", True, "")
        assert {one.phase for one in health.runners} == {"running"}, health
        assert len(health.runners) == 2
        assert health.leases == 3, "one of the supervisor, one of each runner"
        assert (health.slots, health.slots_of_children) == (3, 1), health
        assert health.broker == str(site.file)
        assert health.queues == ("default",)


def test_settled_attempts_are_counted_through_the_death_of_a_runner(tmp_path: Path) -> None:
    """What runners and children have settled is one number, and no defect shows beside it."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        first, *_ = site.wait_final(*site.enqueue(tasks.wait.call(0.0), tasks.lone.call(0.0)))
        site.wait_health(worker, lambda one: one.settled == 2, "two settled attempts")
        processes.send([first.attempts[0].pid], signal.SIGKILL)
        site.wait_health(worker, lambda one: one.restarts == 1 and one.ready, "a new runner")
        site.wait_final(*site.enqueue(tasks.wait.call(0.0)))
        health = site.wait_health(worker, lambda one: one.settled == 3, "three settled attempts")
        assert health.defects == 0, worker.report()


def test_only_this_user_can_ask(tmp_path: Path) -> None:
    """Folder and socket are closed to other users."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        folder = health_dir({"TMPDIR": str(tmp_path)})
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in health_sockets(folder):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_socket_of_a_dead_worker_is_told_and_cleared_away(tmp_path: Path) -> None:
    """Nobody answers behind the socket of a killed worker; the next worker removes it."""
    with Supervised(tmp_path) as site:
        dead = site.start_ready()
        folder = health_dir({"TMPDIR": str(tmp_path)})
        (path,) = health_sockets(folder)
        processes.kill_tree(dead.pid)
        dead.wait_exit(SOON_S)
        assert health_sockets(folder) == [path]
        with pytest.raises(Unavailable, match="dead or stuck"):
            read_health(path)
        site.start_ready()
        eventually(lambda: not path.exists(), within_s=SOON_S, what="the old socket to go")


def test_a_stuck_worker_does_not_hold_up_who_asks(tmp_path: Path) -> None:
    """A stopped supervisor accepts and says nothing: the question ends with an error in time."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        (path,) = health_sockets(health_dir({"TMPDIR": str(tmp_path)}))
        processes.send([worker.pid], signal.SIGSTOP)
        with pytest.raises(Unavailable, match="dead or stuck"):
            read_health(path, timeout_s=0.3)
        processes.send([worker.pid], signal.SIGCONT)
        site.wait_health(worker, lambda one: one.ready, "it to answer again")


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    """In a folder of somebody else's a socket could be swapped: the worker works without one."""
    folder = health_dir({"TMPDIR": str(tmp_path)})
    folder.mkdir()
    folder.chmod(0o777)
    with Supervised(tmp_path) as site:
        worker = site.start()
        worker.wait_log("no health socket", within_s=SOON_S)
        site.wait_final(*site.enqueue(tasks.wait.call(0.0)))
        assert health_sockets(folder) == []


@pytest.mark.parametrize("flaw", ["writable", "foreign", "link"])
def test_a_worker_in_a_folder_of_others_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    """Whoever answers in a folder that another user can write to is not believed."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        folder = health_dir({"TMPDIR": str(tmp_path)})
        (path,) = health_sockets(folder)
        assert read_health(path).pid == worker.pid
        match flaw:
            case "writable":
                folder.chmod(0o770)
            case "foreign":
                other = os.getuid() + 1
                monkeypatch.setattr(os, "getuid", lambda: other)
            case _:
                link = tmp_path / "link"
                link.symlink_to(folder)
                path = link / path.name
        with pytest.raises(Unavailable, match="not a folder that only this user can write to"):
            read_health(path)


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    """Socket addresses hold 107 bytes; a worker in a deep folder is asked all the same."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with Supervised(deep) as site:
        site.start_ready()


def test_a_locked_broker_shows_and_passes(tmp_path: Path) -> None:
    """While the file is locked by a stranger the worker is not live; it goes on by itself."""
    with Supervised(tmp_path, lease_ttl="1s", lease_extend="200ms") as site:
        worker = site.start_ready()
        with site.locked_file():
            health = site.wait_health(worker, lambda one: not one.live, "the outage to show")
            assert health.wrong, health
        site.wait_health(worker, lambda one: one.ready, "the worker to go on")
        site.wait_final(*site.enqueue(tasks.wait.call(0.0), tasks.lone.call(0.0)))
