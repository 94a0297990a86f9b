"""Where control groups for memory can be made, as the kernel's own texts tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.executors.cgroups import (
    V1,
    V2,
    NoGroups,
    Place,
    find_place,
    kills_whole_group,
    make_way,
    own_group,
)

#: What a mount of each version looks like, seen at a folder; %s is the root that is mounted there.
FIRST = "35 31 0:32 %s {}/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
SECOND = "41 31 0:38 %s {}/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
OTHER = "32 31 0:29 / {}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct"


def proc(folder: Path, memberships: str, *mounts: str) -> Path:
    """Return a folder that tells what /proc/self would."""
    found = folder / "proc"
    found.mkdir()
    (found / "cgroup").write_text(memberships)
    (found / "mountinfo").write_text("".join(f"{one.format(folder)}\n" for one in mounts))
    return found


@pytest.mark.parametrize(
    ("memberships", "mounts", "place", "version"),
    [
        ("4:memory:/a/b\n0::/c\n", [OTHER, FIRST % "/", SECOND % "/"], "memory/a/b", V1),
        ("3:cpu:/\n0::/c/d\n", [OTHER, SECOND % "/"], "unified/c/d", V2),
        ("0::/\n", [SECOND % "/"], "unified", V2),
        ("4:memory:/docker/1\n", [FIRST % "/docker/1"], "memory", V1),
        ("4:memory:/docker/1\n", [FIRST % "/docker/10"], "memory", V1),
    ],
    ids=["both", "second", "root of a namespace", "container", "mounted elsewhere"],
)
def test_the_group_that_counts_memory_is_found(
    tmp_path: Path, memberships: str, mounts: list[str], place: str, version: int
) -> None:
    """Version 1 wherever it counts memory; a container may see its own group as the root."""
    assert own_group(proc(tmp_path, memberships, *mounts)) == Place(tmp_path / place, version)


@pytest.mark.parametrize(
    ("memberships", "mounts"),
    [("3:cpu:/\n", [OTHER]), ("0::/\n", [OTHER]), ("4:memory:/\n", [])],
    ids=["no hierarchy", "not mounted", "nothing mounted"],
)
def test_without_a_group_it_says_so(tmp_path: Path, memberships: str, mounts: list[str]) -> None:
    """The reason is a sentence, for the log and for doctor."""
    with pytest.raises(NoGroups, match="counted by no control group"):
        own_group(proc(tmp_path, memberships, *mounts))
    with pytest.raises(NoGroups, match="tells of no control groups"):
        own_group(tmp_path / "nowhere")


def second(tmp_path: Path, controllers: str) -> tuple[Path, Path]:
    """Return a process's folder and its group of version 2, which has these controllers."""
    found = proc(tmp_path, "0::/\n", SECOND % "/")
    group = tmp_path / "unified"
    group.mkdir()
    (group / "cgroup.controllers").write_text(controllers)
    return found, group


def test_a_group_that_was_not_delegated_is_no_place(tmp_path: Path) -> None:
    """With version 2 the group above hands controllers down, or does not."""
    found, group = second(tmp_path, "cpu pids\n")
    with pytest.raises(NoGroups, match="no memory controller"):
        find_place(found)
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    assert find_place(found) == Place(group, V2)


def test_way_is_made_once(tmp_path: Path) -> None:
    """Nothing moves with version 1, or where the group is divided already."""
    _, group = second(tmp_path, "memory\n")
    (group / "cgroup.subtree_control").write_text("memory\n")
    for version in (V1, V2):
        make_way(Place(group, version), "penstock.worker")
    assert not (group / "penstock.worker").exists()


def test_a_group_of_others_is_left_as_it_was(tmp_path: Path) -> None:
    """What cannot be divided keeps its processes, and no group of ours stays behind."""
    _, group = second(tmp_path, "memory\n")
    with pytest.raises(NoGroups, match="cannot be divided"):
        # No kernel is behind this folder that would fill a new group with files.
        make_way(Place(group / "gone", V2), "penstock.worker")
    assert sorted(one.name for one in group.iterdir()) == ["cgroup.controllers"]


@pytest.mark.parametrize(("value", "is_whole"), [("1\n", True), ("0\n", False), (None, False)])
def test_kills_of_a_whole_container_are_foreseen(
    tmp_path: Path, value: str | None, *, is_whole: bool
) -> None:
    """As Kubernetes sets it for its containers; without the file there is nothing to fear."""
    found, group = second(tmp_path, "memory\n")
    if value is not None:
        (group / "memory.oom.group").write_text(value)
    assert kills_whole_group(found) is is_whole
    assert kills_whole_group(tmp_path / "nowhere") is False
