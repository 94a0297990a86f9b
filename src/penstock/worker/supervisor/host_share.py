"""What a worker may reserve of a host's memory beside the other workers there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .host_ledger import HostLedger


class Pool(NamedTuple):
    """Memory that some workers share: the machine's, or that of a control group with a limit.

    Attributes:
        ledger: of those who share it.
        size_bytes: what they may reserve together.
    """

    ledger: HostLedger
    size_bytes: int


class HostShare:
    """The pools of memory that this worker reserves from, in each of them the same.

    Attributes:
        pool_bytes: of the smallest pool, which others may share; no less than this worker's own
            budget, so that what its operator has said holds for it.
        name: of that pool: the same for all who share it, and for nobody else; empty: there is no
            ledger.
    """

    def __init__(self, pools: Sequence[Pool], name: str = "") -> None:
        """Reserve nothing yet."""
        self._pools = pools
        self._reserved_bytes = 0
        smallest = min(pools, key=lambda one: one.size_bytes)
        self.pool_bytes = smallest.size_bytes
        self.name = name if smallest.ledger.is_shared else ""

    def free_bytes(self, reserved_bytes: int) -> int:
        """Return what is free for this worker, which has reserved so much."""
        left = min(one.size_bytes - one.ledger.others_bytes() for one in self._pools)
        return left - reserved_bytes

    def take(self, reserved_bytes: int) -> bool:
        """Reserve so much in all, unless another worker was quicker; return whether."""
        if reserved_bytes <= self._reserved_bytes:
            # A job has what its claim had promised; if it is less, `note` tells.
            return True
        for pool in self._pools:
            if not pool.ledger.take(reserved_bytes, pool_bytes=pool.size_bytes):
                for told in self._pools:
                    # Some may have been told already.
                    told.ledger.note(self._reserved_bytes)
                return False
        self._reserved_bytes = reserved_bytes
        return True

    def note(self, reserved_bytes: int) -> None:
        """Say that so much is reserved."""
        if reserved_bytes == self._reserved_bytes:
            return
        self._reserved_bytes = reserved_bytes
        for pool in self._pools:
            pool.ledger.note(reserved_bytes)

    @property
    def wanted_bytes(self) -> int:
        """What others are asked to leave free for a large job here."""
        return max(pool.ledger.wanted_bytes for pool in self._pools)

    def hold_gate(self, wanted_bytes: int) -> bool:
        """Hold the gate of each pool for a large job; False: another worker holds one."""
        if all(pool.ledger.hold_gate(wanted_bytes) for pool in self._pools):
            return True
        self.open_gate()
        return False

    def open_gate(self) -> None:
        """Hold it no longer."""
        for pool in self._pools:
            pool.ledger.open_gate()

    def look_after(self) -> None:
        """Forget workers that have ended without a word."""
        for pool in self._pools:
            pool.ledger.look_after()

    def close(self) -> None:
        """Leave the pools to the others."""
        for pool in self._pools:
            pool.ledger.close()
