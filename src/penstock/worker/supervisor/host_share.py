"""What a worker may reserve of a host's memory beside the other workers there."""

from __future__ import annotations

from .host_ledger import HostLedger


class HostShare:
    """The pool of memory that all workers of this user on this host reserve from.

    Attributes:
        pool_bytes: what may be reserved together; no less than this worker's own budget, so that
            what its operator has said holds for it.
        name: the same for all who share the pool, and for nobody else; empty: there is no ledger.
    """

    def __init__(self, ledger: HostLedger, pool_bytes: int, name: str = "") -> None:
        """Reserve nothing yet."""
        self._ledger = ledger
        self.pool_bytes = pool_bytes
        self.name = name if ledger.is_shared else ""

    def free_bytes(self, reserved_bytes: int) -> int:
        """Return what is free for this worker, which has reserved so much."""
        return self.pool_bytes - self._ledger.others_bytes() - reserved_bytes

    def take(self, reserved_bytes: int) -> bool:
        """Reserve so much in all, unless another worker was quicker; return whether."""
        return self._ledger.take(reserved_bytes, pool_bytes=self.pool_bytes)

    def note(self, reserved_bytes: int) -> None:
        """Say that so much is reserved."""
        self._ledger.note(reserved_bytes)

    def hold_gate(self, wanted_bytes: int) -> bool:
        """Hold the gate of the host for a large job; False: another worker holds it."""
        return self._ledger.hold_gate(wanted_bytes)

    def open_gate(self) -> None:
        """Hold it no longer."""
        self._ledger.open_gate()

    def look_after(self) -> None:
        """Forget workers that have ended without a word."""
        self._ledger.look_after()

    def close(self) -> None:
        """Leave the pool to the others."""
        self._ledger.close()
