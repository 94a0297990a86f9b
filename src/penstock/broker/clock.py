"""The clock of this machine, read from the kernel."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """Wall time, and boot time that counts suspend in.

    CLOCK_BOOTTIME and not CLOCK_MONOTONIC: a lease must run out while the machine sleeps.

    Cost: one call of the vDSO per reading; the boot id is read once per instance.
    """

    __slots__ = ("_boot_id",)

    def __init__(self) -> None:
        """Read the boot id."""
        self._boot_id = _BOOT_ID.read_text(encoding="ascii").strip()

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        """Return milliseconds since boot, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    @property
    def boot_id(self) -> str:
        """Name of this boot, as the kernel drew it."""
        return self._boot_id
