"""Files of the kernel with a name and a number on each line."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Final

#: Seconds for which a count of kills for want of memory is taken for that of now: ten reads a
#: second, however many attempts begin.
_OOMS_AGE_S: Final = 0.1


def value_in(text: bytes, name: bytes) -> int:
    """Return the number behind a name in a file of the kernel with a pair on each line; else 0."""
    begin = 0 if text.startswith(name + b" ") else text.find(b"\n" + name + b" ") + 1
    if not begin and not text.startswith(name + b" "):
        return 0
    return int(text[begin + len(name) :].split(None, 1)[0])


class KernelOoms:
    """How often the kernel has killed for want of memory since the boot; 0: it does not tell.

    The kernel's table takes some 100 us to read, as much as all else before a job in a child.
    """

    def __init__(self) -> None:
        """Have read nothing yet."""
        self._count = 0
        self._read_at_s = -math.inf

    def lately(self) -> int:
        """Return the count of a moment ago. Bound: a kill in that time counts as one since."""
        if time.monotonic() - self._read_at_s >= _OOMS_AGE_S:
            self._read()
        return self._count

    def since(self, before: int) -> int:
        """Return how many kills there were since an earlier count."""
        self._read()
        return self._count - before

    def _read(self) -> None:
        self._read_at_s = time.monotonic()
        with contextlib.suppress(OSError):
            text = Path("/proc/vmstat").read_bytes()
            self._count = value_in(text, b"oom_kill")
