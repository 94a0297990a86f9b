"""What makes a lease good, in one place for all verbs that ask."""

from __future__ import annotations

from penstock.core.clock import Clock
from penstock.core.ids import LeaseId

from .store import Lease, Store


def has_run_out(lease: Lease, clock: Clock) -> bool:
    """Return whether its time is over. One of another boot is: its owner died with that boot."""
    return lease.boot_id != clock.boot_id or clock.boot_ms() >= lease.expires_at


def open_lease_of(store: Store, lease_id: LeaseId) -> Lease | None:
    """Return the lease if it is known, not closed and has not run out."""
    lease = store.leases.get(lease_id)
    if lease is None or lease.closed:  # Guard: lease is open
        return None
    if has_run_out(lease, store.clock):  # Guard: lease has time left
        return None
    return lease
