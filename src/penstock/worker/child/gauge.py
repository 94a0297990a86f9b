"""What one job takes, as the child itself sees it: its own mark, its own CPU seconds."""

from __future__ import annotations

import resource
from typing import Final

from penstock.executors.memory import read_resident, reset_own_peak
from penstock.worker.measured import Measured

_MS: Final = 1000


class Gauge:
    """Measures one job after the other."""

    def __init__(self) -> None:
        """Begin with nothing measured."""
        self._baseline_bytes = self._file_bytes = 0
        self._is_reset = False
        self._cpu_s = 0.0

    def begin(self) -> None:
        """Set the mark back: user code is about to start. Cost: some 200 us."""
        self._is_reset = reset_own_peak()
        now = read_resident()
        self._baseline_bytes, self._file_bytes = (
            (0, 0) if now is None else (now.now_bytes, now.file_bytes)
        )
        self._cpu_s = _cpu_s()

    def read(self) -> Measured:
        """Return what was taken since `begin`; the peak is None where the mark is older."""
        now = read_resident() if self._is_reset else None
        return Measured(
            baseline_bytes=self._baseline_bytes,
            peak_bytes=None if now is None else now.peak_bytes,
            cpu_ms=round((_cpu_s() - self._cpu_s) * _MS),
            file_bytes=0 if now is None else max(0, now.file_bytes - self._file_bytes),
        )


def _cpu_s() -> float:
    """Return the CPU time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
