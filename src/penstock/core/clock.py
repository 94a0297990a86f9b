"""The two clocks of the engine, as a port. Core only names them; the caller reads them."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall time for due times and history, boot time for leases."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC. It may jump."""
        ...

    def boot_ms(self) -> int:
        """Return milliseconds since boot, suspend included. It never jumps within one boot."""
        ...

    @property
    def boot_id(self) -> str:
        """Name of this boot: instants of `boot_ms` compare only under one boot id."""
        ...
