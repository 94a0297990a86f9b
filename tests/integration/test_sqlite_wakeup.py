"""FIFOs by which processes wake each other: who counts as dead, and what is left over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.brokers.sqlite import wakeup

#: A token as a listener draws it.
TOKEN = "0123456789abcdef" * 2


def ignore(token: str) -> None:
    """Take the news that a listener was closed."""


def descriptors() -> list[str]:
    """Return the descriptors of this process, the one for looking among them."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_a_listener_that_cannot_be_told_dead_counts_as_alive(tmp_path: Path) -> None:
    """An error that says nothing about the listener, here a loop of links, is not its death."""
    (tmp_path / TOKEN).symlink_to(TOKEN)
    assert wakeup.wake(tmp_path, TOKEN)
    assert (tmp_path / TOKEN).is_symlink()


def test_a_listener_without_a_process_or_a_file_is_dead(tmp_path: Path) -> None:
    """No file is a closed listener; a FIFO without a reader is a dead one, and is removed."""
    assert not wakeup.wake(tmp_path, TOKEN)
    os.mkfifo(tmp_path / TOKEN)
    assert not wakeup.wake(tmp_path, TOKEN)
    assert not (tmp_path / TOKEN).exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """A FIFO that never got a reader is removed once it is old; one in the making is not."""
    names = (f"new-{TOKEN}", f"new-{TOKEN[::-1]}", "new-x")
    old, new, foreign = (tmp_path / name for name in names)
    for path in (old, new, foreign):
        os.mkfifo(path)
    for path in (old, foreign):
        os.utime(path, (time.time() - 3_600,) * 2)
    listener = wakeup.FifoListener(tmp_path, ignore)
    assert wakeup.remove_stale(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {new.name, "new-x", listener.token}
    listener.close()


def test_a_listener_that_cannot_be_named_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last step of making it fails, neither its descriptor nor its file stays."""
    # The name is drawn at random: it can be occupied beforehand only where the draw is known.
    monkeypatch.setattr("secrets.token_hex", lambda _: TOKEN)
    # A FIFO cannot take the name of a directory.
    (tmp_path / TOKEN).mkdir()
    before = descriptors()
    with pytest.raises(IsADirectoryError):
        wakeup.FifoListener(tmp_path, ignore)
    assert descriptors() == before
    assert [path.name for path in tmp_path.iterdir()] == [TOKEN]


def test_a_directory_of_another_user_is_left_to_him(tmp_path: Path) -> None:
    """Who may not look into it neither fails nor takes its listeners for dead."""
    directory = tmp_path / "wake"
    directory.mkdir()
    token = "a" * 32
    if os.getuid() != 0:
        directory.chmod(0)
    program = (
        "import os, sys; from pathlib import Path; from penstock.brokers.sqlite import wakeup\n"
        "os.getuid() == 0 and os.setuid(65534)\n"
        "there = Path(sys.argv[1])\n"
        "print(wakeup.exists(there, sys.argv[2]), wakeup.wake(there, sys.argv[2]),"
        " wakeup.remove_stale(there))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(directory), token],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        directory.chmod(0o700)
    assert (done.stdout, done.stderr) == ("True True 0\n", "")
