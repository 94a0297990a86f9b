"""restate: say anew what the worker behind a lease can take.

transitions: none.
"""

from __future__ import annotations

import msgspec

from penstock.core.capacity import Capacity
from penstock.core.ids import LeaseId

from .store import Store


def restate(store: Store, lease_id: LeaseId, capacity: Capacity) -> None:
    """Let a known lease tell another capacity."""
    lease = store.leases.get(lease_id)
    if lease is not None:  # Guard: only known leases
        lease.opened = msgspec.structs.replace(lease.opened, capacity=capacity)
