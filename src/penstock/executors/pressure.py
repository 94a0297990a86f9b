"""How long tasks stood still for want of memory: the kernel's pressure stall information.

Source: Linux, Documentation/accounting/psi. Version 2 control groups have a file of their own, so
that a container's worker sees its container; else the machine's is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MACHINE: Final = Path("/proc/pressure/memory")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def pressure_files(
    *, proc_cgroup: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS
) -> tuple[Path, ...]:
    """Return the files that tell of this process: of its groups up to the root, and all.

    Not of its own alone: a worker's children may live in groups beside it, and the limit of a
    container belongs to their parent.

    Args:
        proc_cgroup: the process's membership file.
        root: where version 2 control groups are mounted.
    """
    found = []
    with contextlib.suppress(OSError):
        for line in proc_cgroup.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                own = root / path.lstrip("/")
                groups = (own, *(one for one in own.parents if one.is_relative_to(root)))
                found += [group / "memory.pressure" for group in groups]
    return tuple(file for file in (*found, _MACHINE) if file.is_file())


def stalled_percent(files: Iterable[Path]) -> float:
    """Return the share of the last ten seconds in which all that ran there stood still, 0 to 100.

    The highest of the files; 0 where none can be read.
    """
    most = 0.0
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                kind, first, *_ = line.split()
                if kind == "full":
                    most = max(most, float(first.removeprefix("avg10=")))
    return most
