"""Where this process may make control groups for memory, by version 2 or 1 of the kernel's files.

Groups are made below the group of the process itself, so that what binds it binds them too: the
limit of a container, say. Version 2 wants no process in a group that has groups with controllers
below it; a process that lives alone in a group that was delegated to it moves out of the way.
Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_PROC: Final = Path("/proc/self")
_CONTROLLER: Final = "memory"
#: Versions of the interface.
V1: Final = 1
V2: Final = 2


class NoGroups(Exception):
    """No group can be made here; the text says why."""


class Place(NamedTuple):
    """A group below which groups can be made.

    Attributes:
        folder: of the group.
        version: of the interface, V1 or V2.
    """

    folder: Path
    version: int


class _Mount(NamedTuple):
    """A mounted hierarchy: which of its groups is seen where."""

    root: str
    point: Path
    version: int


def find_place(proc: Path = _PROC) -> Place:
    """Return the group of this process, if groups can be made below it.

    Args:
        proc: the process's folder.

    Raises:
        NoGroups: there is none, or it is another user's, or memory is not counted there.
    """
    own = own_group(proc)
    if not os.access(own.folder, os.W_OK):
        raise NoGroups(f"{own.folder} may not be written to: it belongs to another user")
    if own.version == V2 and _CONTROLLER not in _words(own.folder / "cgroup.controllers"):
        raise NoGroups(f"{own.folder} was given no memory controller by the group above it")
    return own


def own_group(proc: Path = _PROC) -> Place:
    """Return the group that counts the memory of this process.

    Raises:
        NoGroups: the kernel counts none, or its files are not mounted.
    """
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = _mounts((proc / "mountinfo").read_text())
    except OSError as error:
        raise NoGroups(f"the kernel tells of no control groups: {error.strerror}") from error
    # Where version 1 counts memory, version 2 does not.
    for version in (V1, V2):
        path = _path(memberships, version)
        mount = next((one for one in mounts if one.version == version), None)
        if path is not None and mount is not None:
            return Place(_folder(mount, path), version)
    raise NoGroups("memory is counted by no control group of this process")


def make_way(place: Place, name: str) -> None:
    """Let groups below a place count memory; the process moves into one of its own there.

    Nothing is done with version 1, which lets processes and groups stand side by side.

    Args:
        place: of this process.
        name: of the group into which it moves, itself and what it starts from now on.

    Raises:
        NoGroups: other processes live in the group, and they are not ours to be moved.
    """
    switch = place.folder / "cgroup.subtree_control"
    if place.version == V1 or _CONTROLLER in _words(switch):
        return
    own = place.folder / name
    try:
        own.mkdir()
        (own / "cgroup.procs").write_text(str(os.getpid()))
        switch.write_text(f"+{_CONTROLLER}")
    except OSError as error:
        with contextlib.suppress(OSError):
            (place.folder / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):
            own.rmdir()
        raise NoGroups(
            f"{place.folder} cannot be divided, other processes live in it: {error.strerror}"
        ) from error


def kills_whole_group(proc: Path = _PROC) -> bool:
    """Return whether the kernel kills all processes beside this one when it kills one for memory.

    Kubernetes sets `memory.oom.group` on its containers from 1.28 on, on hosts of version 2.
    """
    try:
        own = own_group(proc)
    except NoGroups:
        return False
    found = (one / "memory.oom.group" for one in (own.folder, *own.folder.parents))
    return any(_words(file) == ["1"] for file in found)


def _mounts(text: str) -> list[_Mount]:
    """Return the mounted hierarchies that may count memory (proc(5), mountinfo)."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(maxsplit=2)
        is_first = kind == "cgroup" and _CONTROLLER in options.split(",")
        if is_first or kind == "cgroup2":
            found.append(_Mount(fields[3], Path(fields[4]), V1 if is_first else V2))
    return found


def _path(memberships: list[str], version: int) -> str | None:
    """Return the path of the process's group in a hierarchy, as /proc/self/cgroup tells it."""
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if version == V1 and _CONTROLLER in controllers.split(","):
            return path
        if version == V2 and not controllers:
            return path
    return None


def _folder(mount: _Mount, path: str) -> Path:
    """Return where a group is seen; a container may see its own group as the root."""
    own = PurePosixPath(path)
    return (
        mount.point / own.relative_to(mount.root) if own.is_relative_to(mount.root) else mount.point
    )


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
