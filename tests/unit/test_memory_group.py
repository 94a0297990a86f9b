"""What a memory group makes of the files of version 2, whatever the machine has.

What the kernel does is shown where it is: tests/integration/memory_groups.py, with either version.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.executors.cgroups import V2, Place
from penstock.executors.memory_group import MemoryGroup

MIB = 2**20
#: The files that the kernel puts into a new group.
FILES = {
    "memory.current": "0\n",
    "memory.peak": "0\n",
    "memory.stat": "anon 0\nfile 0\n",
    "memory.events": "low 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "memory.max": "max\n",
    "memory.swap.max": "max\n",
    "memory.oom.group": "0\n",
    "cgroup.procs": "",
}


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryGroup:
    """Return a new group in a folder that is filled as the kernel would."""
    make = Path.mkdir

    def fill(folder: Path) -> None:
        make(folder)
        for name, text in FILES.items():
            (folder / name).write_text(text)

    monkeypatch.setattr(Path, "mkdir", fill)
    return MemoryGroup(Place(tmp_path, V2), "penstock.child")


def charge(group: MemoryGroup, *, mib: int, file_mib: int, peak_mib: int) -> None:
    """Let the files say so much; in place, since they are kept open."""
    for name, text in {
        "memory.current": f"{mib * MIB}\n",
        "memory.peak": f"{peak_mib * MIB}\n",
        "memory.stat": f"anon 1\ninactive_file {file_mib * MIB - 5}\nactive_file 4\n"
        "workingset_activate_file 9\nslab_reclaimable 1\n",
    }.items():
        with (group.folder / name).open("r+") as file:
            file.write(text)
            file.truncate()


def said(group: MemoryGroup, name: str) -> str:
    """Return what was written into a file."""
    return (group.folder / name).read_text().rstrip("\0\n")


def test_a_new_group_has_no_swap_and_dies_as_one(group: MemoryGroup) -> None:
    """What is killed in it is killed as a whole."""
    assert said(group, "memory.oom.group") == "1"
    assert said(group, "memory.swap.max").startswith("0")


def test_a_mark_that_rose_counts_without_the_cache(group: MemoryGroup) -> None:
    """Of the kernel's mark the largest cache is taken off; libraries of others come on top."""
    charge(group, mib=30, file_mib=10, peak_mib=30)
    assert group.begin(None, 25 * MIB)
    charge(group, mib=90, file_mib=40, peak_mib=90)
    assert group.look() == 55 * MIB
    charge(group, mib=60, file_mib=20, peak_mib=150)
    taken = group.end()
    assert taken.baseline_bytes == 25 * MIB
    assert taken.peak_bytes == (150 - 40 + 5) * MIB
    assert taken.kills == 0


def test_an_older_mark_says_nothing(group: MemoryGroup) -> None:
    """Before Linux 6.12 it cannot be set back: the highest look counts."""
    (group.folder / "memory.peak").chmod(0o444)
    charge(group, mib=30, file_mib=0, peak_mib=500)
    group._reset_mark = lambda: None  # type: ignore[method-assign]
    group.begin(None, 30 * MIB)
    charge(group, mib=70, file_mib=0, peak_mib=500)
    group.look()
    charge(group, mib=40, file_mib=0, peak_mib=500)
    assert group.end().peak_bytes == 70 * MIB


def test_kills_are_those_of_the_attempt(group: MemoryGroup) -> None:
    """The kernel counts on and on."""
    events = group.folder / "memory.events"
    events.write_text("oom_kill 3\n")
    group.begin(None, 0)
    assert group.kills == 0
    events.write_text("oom_kill 5\n")
    assert group.kills == group.end().kills == 2


def test_whose_limit_left_no_memory_is_told_for_the_attempt(group: MemoryGroup) -> None:
    """A kill without that count in this group was for a limit above it, or for the machine."""
    events = group.folder / "memory.events"
    events.write_text("oom 2\noom_kill 3\n")
    group.begin(None, 0)
    events.write_text("oom 2\noom_kill 4\n")
    assert not group.end().at_limit
    events.write_text("oom 3\noom_kill 5\n")
    assert group.end().at_limit


def test_a_limit_is_set_once_and_put_off_where_cache_is_in_its_way(group: MemoryGroup) -> None:
    """In whole MiB, less what is charged elsewhere; a removed group says nothing any more."""
    charge(group, mib=10, file_mib=0, peak_mib=10)
    assert group.begin(100 * MIB + 5, 12 * MIB)
    assert said(group, "memory.max") == str(98 * MIB)
    (group.folder / "memory.max").write_text("kept")
    assert group.begin(100 * MIB + 9, 12 * MIB)
    assert said(group, "memory.max") == "kept"
    charge(group, mib=80, file_mib=70, peak_mib=80)
    assert not group.begin(60 * MIB, 10 * MIB)
    assert said(group, "memory.max") == "kept"
    group.enforce()
    assert said(group, "memory.max") == str(60 * MIB)
    assert not group.remove(), "files are in its folder"
    assert group.look() == 0
