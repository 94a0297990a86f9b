"""open_lease: open a lease for a process that will claim.

transitions: none.
"""

from __future__ import annotations

from penstock.broker.requests import OpenLease

from .register import register
from .store import Lease, Store


def open_lease(store: Store, asked: OpenLease) -> None:
    """Open the lease; an id that is known changes nothing, be it open or closed."""
    if asked.id in store.leases:  # Guard: a known lease is left alone
        return
    register(store, asked.queues)
    clock = store.clock
    store.leases[asked.id] = Lease(
        opened=asked, boot_id=clock.boot_id, expires_at=clock.boot_ms() + asked.ttl_ms
    )
