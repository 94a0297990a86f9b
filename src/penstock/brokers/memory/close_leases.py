"""close_leases: end leases for ever.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.ids import LeaseId

from .store import Store


def close_leases(store: Store, lease_ids: Sequence[LeaseId]) -> None:
    """Close the leases that are known. Their jobs run on until `reclaim` takes them."""
    for lease_id in lease_ids:
        lease = store.leases.get(lease_id)
        if lease is not None:  # Guard: only known leases
            lease.closed = True
