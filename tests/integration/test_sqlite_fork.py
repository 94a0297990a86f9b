"""A fork with an open SQLite file: parent and child both work on, and neither loses a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.sqlite_actor import ROOT
from tests.support.sqlite_file import check_whole, job_ids


def run(name: str, path: Path) -> list[str]:
    """Run a program of `sqlite_fork` to its end and return the lines that it printed."""
    done = subprocess.run(
        # Python 3.12 and newer warn of any fork with threads; forking with them is what is tested.
        [sys.executable, "-W", "ignore", "-m", "tests.support.sqlite_fork", name, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.split("\n")[:-1]


def test_a_job_of_the_child_outlives_the_parents_close(tmp_path: Path) -> None:
    """What a child enqueues after its parent closed the file is there for the next process.

    A child that opened the file while it had inherited an open one held no lock on it: the parent
    removed the log at its close, and what the child committed later was gone.
    """
    path = tmp_path / "jobs.db"
    accepted = run("parent-closes", path)
    assert len(accepted) == 4
    assert job_ids(path) == set(accepted)
    check_whole(path)


def test_a_fork_waits_until_the_log_is_moved(tmp_path: Path) -> None:
    """The connection that moves the log is closed before a fork too, as all others are."""
    path = tmp_path / "jobs.db"
    accepted = run("while-the-log-is-moved", path)
    assert len(accepted) == 2
    assert job_ids(path) >= set(accepted)
    check_whole(path)


def test_a_child_that_closes_leaves_the_parent_alone(tmp_path: Path) -> None:
    """The parent's handle works on after its child closed the copy."""
    path = tmp_path / "jobs.db"
    accepted = run("child-closes", path)
    assert len(accepted) == 2
    assert job_ids(path) == set(accepted)


def test_the_child_holds_locks_of_its_own(tmp_path: Path) -> None:
    """The kernel knows locks of the child on the file and on its shared memory."""
    assert run("locks", tmp_path / "jobs.db") == ["2"]


def test_forks_under_load_run_nothing_twice(tmp_path: Path) -> None:
    """No call of a parent's thread is run by a child, and none is lost or told as a duplicate."""
    path = tmp_path / "jobs.db"
    printed = run("under-load", path)
    assert "duplicate" not in printed
    assert len(printed) == len(set(printed)) > 800, "no child wrote anything"
    assert job_ids(path) == set(printed)
    check_whole(path)


def test_a_listener_stays_with_the_process_that_opened_it(tmp_path: Path) -> None:
    """A forked child cannot drain it, and its close does not take the address away."""
    assert run("listener", tmp_path / "jobs.db") == ["woken"]


def test_a_file_opened_while_a_fork_waits_is_left_alone(tmp_path: Path) -> None:
    """A file that was not paused is not resumed, and neither side is told of an error.

    Hooks per file let a second file be opened between the two halves of a fork: its locks were
    released without having been taken, in the parent perhaps those of a thread that was writing.
    """
    path = tmp_path / "jobs.db"
    assert run("opened-meanwhile", path) == ["child 1", "parent 1 second 1", "opened"]
