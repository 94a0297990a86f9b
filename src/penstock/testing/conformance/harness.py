"""What a broker brings along to be tested: a fresh store, handles on it, and its clocks."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from penstock.broker.protocol import Broker
from penstock.core.ids import JobId


class Capability(StrEnum):
    """What not every broker can do. A case that needs one is not collected where it is missing."""

    WAKE = "wake"
    """Listeners are woken."""
    BOOT_ID = "boot_id"
    """Leases are stamped with the boot of the host."""
    THREADS = "threads"
    """One handle may be used by many threads at once."""


class Harness(Protocol):
    """One fresh, empty store. Made anew for every case."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the broker can do."""
        ...

    @property
    def payload_bytes_max(self) -> int:
        """Bytes of one payload or result that the handles are opened with; a few KiB is best."""
        ...

    def open(self) -> Broker:
        """Return another handle on the store, as another process would have it."""
        ...

    def wall_ms(self) -> int:
        """Return the broker's wall time, milliseconds since 1970."""
        ...

    def advance(self, ms: int) -> None:
        """Let time pass, on the lease clock and on the wall clock."""
        ...

    def step_wall(self, ms: int) -> None:
        """Set the wall clock forward or back; the lease clock goes on as it was."""
        ...

    def reboot(self) -> None:
        """Start another boot: the lease clock starts anew under another boot id."""
        ...

    def poison(self, job_id: JobId, spec: bytes) -> None:
        """Write `spec` over the stored spec of a job, behind the broker's back."""
        ...

    def close(self) -> None:
        """Close the handles and remove the store."""
        ...
