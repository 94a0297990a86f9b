"""How many CPUs this process may use: the quota of its control group, else the machine's cores."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_PROC_CGROUP: Final = Path("/proc/self/cgroup")
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
    quotas = [quota for folder in _groups(proc_cgroup, root) if (quota := _quota(folder))]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


def _groups(proc_cgroup: Path, root: Path) -> list[Path]:
    """Return the folders that may hold a quota of this process."""
    try:
        lines = proc_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    folders: list[Path] = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
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
