"""A clock that stands still until it is told to move."""

from __future__ import annotations

import threading


class ManualClock:
    """A `Clock` for tests. Safe to move from one thread while others read it.

    Args:
        wall_ms: where wall time starts; the default is 2026-01-01 UTC.
        boot_ms: where boot time starts.
        boot_id: name of the boot.
    """

    def __init__(
        self, *, wall_ms: int = 1_767_225_600_000, boot_ms: int = 1_000_000, boot_id: str = "boot-1"
    ) -> None:
        """Start at the given instants."""
        self._lock = threading.Lock()
        self._wall_ms = wall_ms
        self._boot_ms = boot_ms
        self._boot_id = boot_id

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return self._wall_ms

    def boot_ms(self) -> int:
        """Return milliseconds since boot."""
        return self._boot_ms

    @property
    def boot_id(self) -> str:
        """Name of this boot."""
        return self._boot_id

    def advance(self, ms: int) -> None:
        """Let `ms` milliseconds pass on both clocks."""
        with self._lock:
            self._wall_ms += ms
            self._boot_ms += ms

    def step_wall(self, ms: int) -> None:
        """Set the wall clock forward or, with a negative number, back; boot time goes on."""
        with self._lock:
            self._wall_ms += ms

    def reboot(self, boot_id: str, *, boot_ms: int = 1_000) -> None:
        """Start another boot; wall time goes on."""
        with self._lock:
            self._boot_id = boot_id
            self._boot_ms = boot_ms
