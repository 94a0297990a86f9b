"""What the processes of one worker hold of memory together."""

from __future__ import annotations

import os
from typing import Final

from .memory import descendants

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def family_bytes(pid: int) -> int:
    """Return what a worker and all that descends from it hold; 0 where there is nobody.

    What is theirs alone is added up, and what they share (libraries, and what a fork was born with)
    is counted once, as the most that one of them shares. The kernel's own figure for that, PSS, may
    be read of one's own processes only while they let others look at them, and workers do not.

    Cost: some 50 us for each process.
    """
    private = shared = 0
    for one in descendants(pid):
        resident, of_others = _pages(one)
        private += max(0, resident - of_others)
        shared = max(shared, of_others)
    return (private + shared) * _PAGE_BYTES


def _pages(pid: int) -> tuple[int, int]:
    """Return (resident, shared) pages of a process."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - as executors.memory
            fields = file.read(128).split()
        return int(fields[1]), int(fields[2])
    except (OSError, IndexError):
        return 0, 0
