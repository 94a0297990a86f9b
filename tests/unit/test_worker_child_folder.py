"""Folders of children: whose may be removed by whom."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.worker.supervisor.child_folder import ChildFolder, sweep_folders

#: Makes a folder as a worker does, says so, and is killed.
DOOMED = """
import os, sys
from penstock.worker.supervisor.child_folder import ChildFolder
folder = ChildFolder({"TMPDIR": sys.argv[1]})
print(folder.named_in({})["TMPDIR"], flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder that a process has left which was killed."""
    command = [sys.executable, "-c", DOOMED, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return Path(said.strip())


def swept(tmp_path: Path) -> int:
    """Return how many folders were removed."""
    return sweep_folders({"TMPDIR": str(tmp_path)})


def test_what_a_dead_process_left_is_removed(tmp_path: Path, left: Path) -> None:
    """With all that is in it, and nothing that a link in it points to."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (left / "link").symlink_to(tmp_path / "elsewhere")
    (left / "folder").mkdir()
    (left / "folder" / "file").touch()
    assert swept(tmp_path) == 1
    assert not left.exists()
    assert (tmp_path / "elsewhere" / "file").exists()
    assert swept(tmp_path) == 0


def test_what_is_held_stays(tmp_path: Path) -> None:
    """A folder whose owner lives is its owner's, until that one removes it, lock and all."""
    folder = ChildFolder({"TMPDIR": str(tmp_path)})
    assert swept(tmp_path) == 0
    asyncio.run(folder.remove())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fake", ["none", "link", "pipe", "folder"])
def test_a_name_is_no_proof(tmp_path: Path, left: Path, fake: str) -> None:
    """Without a plain file that could be locked nothing is removed, and nobody is held up."""
    lock = left / ".penstock-lock"
    lock.unlink()
    if fake == "link":
        (tmp_path / "target").touch()
        lock.symlink_to(tmp_path / "target")
    elif fake == "pipe":
        os.mkfifo(lock)
    elif fake == "folder":
        lock.mkdir()
    assert swept(tmp_path) == 0
    assert left.exists()


def test_a_link_of_the_name_is_not_followed(tmp_path: Path, left: Path) -> None:
    """It may lead to a folder of anybody."""
    hidden = tmp_path / "hidden"
    left.rename(hidden)
    (tmp_path / "penstock-link").symlink_to(hidden)
    assert swept(tmp_path) == 0
    assert (hidden / ".penstock-lock").exists()


def test_what_belongs_to_another_user_stays(
    tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root does not remove it either: it may hold anything."""
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    assert swept(tmp_path) == 0
    assert left.exists()
