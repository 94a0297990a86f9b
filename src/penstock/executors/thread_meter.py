"""How much of the processor a thread has wanted: what it used, and what it waited for.

Waiting counts, since on a busy machine a thread that computes all the time gets a part of it only,
and would look like one that mostly waits for others.

Source: /proc/thread-self/schedstat (nanoseconds on the processor, nanoseconds in the run queue,
slices); Linux, Documentation/scheduler/sched-stats. Cost: 1 us a reading.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

_BYTES_MAX: Final = 128
_NS: Final = 1e-9


class ThreadMeter:
    """Reads the counters of the thread that made it; only that thread may ask."""

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def wanted_s(self) -> float:
        """Return the seconds of processor time that the thread has used or waited for so far.

        Where the kernel keeps no such count, those that it has used.
        """
        if self._fd < 0:
            return time.thread_time()
        used, waited, *_ = os.pread(self._fd, _BYTES_MAX, 0).split()
        return (int(used) + int(waited)) * _NS

    def close(self) -> None:
        """Let go of the counters."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
