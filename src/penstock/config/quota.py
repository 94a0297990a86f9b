"""What this process may use: CPUs and memory, by its control groups, else by the machine."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Final

#: Share of the memory at hand that jobs may reserve unless told: the rest is for the worker's own
#: processes, the page cache and whatever else runs there (design.md §6).
_BUDGET_PART: Final = 0.85
_PROC_CGROUP: Final = Path("/proc/self/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def cpus(*, proc_cgroup: Path = _PROC_CGROUP, root: Path = _CGROUP_ROOT) -> int:
    """Return the CPUs that this process may use, at least 1.

    The least of: cores in the affinity mask, and the CPU quota of every control group from the
    process's own up to the root (a quota on a parent binds its children). Containers mount their
    own group as the root, so that the path of /proc may not exist; then the root itself is read.

    Args:
        proc_cgroup: the process's membership file.
        root: where control groups are mounted, version 2 or 1.
    """
    cores = len(os.sched_getaffinity(0))
    folders = _groups(proc_cgroup, root, "cpu", ("cpu", "cpu,cpuacct"))
    quotas = [quota for folder in folders if (quota := _quota(folder))]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


def memory_bytes(
    *, proc_cgroup: Path = _PROC_CGROUP, root: Path = _CGROUP_ROOT, meminfo: Path = _MEMINFO
) -> int:
    """Return the bytes of memory that this process and those beside it may use.

    The least of `memory_bounds`, whose arguments these are. 0 where nothing tells.
    """
    found = memory_bounds(proc_cgroup=proc_cgroup, root=root, meminfo=meminfo)
    return min(found.values(), default=0)


def memory_bounds(
    *, proc_cgroup: Path = _PROC_CGROUP, root: Path = _CGROUP_ROOT, meminfo: Path = _MEMINFO
) -> dict[str, int]:
    """Return the bytes of memory of all that this process shares some in, by name.

    The machine, named "", and every control group from the process's own up to the root that has a
    limit, named by its folder.

    Args:
        proc_cgroup: as for `cpus`.
        root: as for `cpus`.
        meminfo: what the kernel says about the machine's memory.
    """
    machine = _machine_bytes(meminfo)
    found = {"": machine} if machine else {}
    for folder in _groups(proc_cgroup, root, "memory", ("memory",)):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                # "max" is no number, and version 1 says more than any machine has: no limit.
                limit = int((folder / name).read_text())
                if 0 < limit < (machine or limit + 1):
                    found[str(folder)] = limit
    return found


def budget_bytes() -> int:
    """Return the bytes that a worker may reserve for jobs unless it is told."""
    return budget_of(memory_bytes())


def budget_of(memory: int) -> int:
    """Return the bytes of so much memory that may be reserved for jobs unless it is told."""
    return round(memory * _BUDGET_PART)


def _machine_bytes(meminfo: Path) -> int:
    with contextlib.suppress(OSError):
        for line in meminfo.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemTotal":
                return int(rest.split()[0]) * 1024
    return 0


def _groups(proc_cgroup: Path, root: Path, controller: str, mounts: tuple[str, ...]) -> list[Path]:
    """Return the folders that may say something about this process for a controller."""
    try:
        lines = proc_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    folders: list[Path] = [root, *(root / name for name in mounts)]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        own = mount / path.lstrip("/")
        folders += [own, *(parent for parent in own.parents if parent.is_relative_to(mount))]
    return folders


def _quota(folder: Path) -> float | None:
    """Return the quota of one group in CPUs, None where it has none."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in {"max", "-1"}:
        return None
    return int(quota) / int(period)
