"""Whether a runner's lease still holds, as far as it can know: by its own clock of the boot.

The supervisor says at each extension until when the lease cannot run out. Where it can extend no
longer, that instant passes, and what the broker gave before may belong to others by now.
"""

from __future__ import annotations

from penstock.core.clock import Clock
from penstock.core.ids import LeaseId


class Grip:
    """Knows the runner's own lease.

    Attributes:
        lease: under which it claims.
    """

    def __init__(self, lease: LeaseId, clock: Clock) -> None:
        """Trust the lease until the supervisor says for how long."""
        self.lease = lease
        self._clock = clock
        self._runs_out_ms: int | None = None

    def renew(self, lease: LeaseId) -> None:
        """Claim under another lease from now on."""
        self.lease = lease
        self._runs_out_ms = None

    def extend(self, lease: LeaseId, runs_out_ms: int) -> bool:
        """Take in until when a lease is sure to hold; return whether claims are good again."""
        if lease != self.lease:
            return False
        held = self.holds(lease)
        self._runs_out_ms = runs_out_ms
        return not held and self.holds(lease)

    def holds(self, lease: LeaseId) -> bool:
        """Return whether jobs that were claimed under a lease may begin now."""
        if lease != self.lease:
            return False
        return self._runs_out_ms is None or self._clock.boot_ms() < self._runs_out_ms
