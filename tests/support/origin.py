"""Where and from what a proof was made: it stands beside every figure that is published."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures of a proof depend on.

    Attributes:
        commit: short hash; "+changes" after it: with changes outside `proof/` that are not in it.
    """

    date: str
    commit: str
    cpus: int
    python: str
    kernel: str

    def __str__(self) -> str:
        """Return one line for a report."""
        return (
            f"{self.date}, commit {self.commit}, {self.cpus} CPUs, Python {self.python}, "
            f"kernel {self.kernel}"
        )


def origin(root: Path = ROOT) -> Origin:
    """Return what is known of this machine and of the checkout at `root`."""
    changes = _git(root, "status", "--porcelain", "--", ".", ":!proof")
    return Origin(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=_git(root, "rev-parse", "--short", "HEAD") + ("+changes" if changes else ""),
        cpus=os.cpu_count() or 0,
        python=platform.python_version(),
        kernel=platform.release(),
    )


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
