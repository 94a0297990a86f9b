"""extend: let leases run on, and fetch the cancels requested under them.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import CancelNotice, ExtendAnswer
from penstock.core.ids import LeaseId

from .store import Store


def extend(store: Store, lease_ids: Sequence[LeaseId], ttl_ms: int) -> ExtendAnswer:
    """Extend each lease that is not closed. Cost: O(leases + jobs under them)."""
    lost: list[LeaseId] = []
    cancels: list[CancelNotice] = []
    for lease_id in lease_ids:
        lease = store.leases.get(lease_id)
        if lease is None or lease.closed:  # Guard: a closed lease stays closed
            lost.append(lease_id)
            continue
        lease.boot_id = store.clock.boot_id
        lease.expires_at = store.clock.boot_ms() + ttl_ms
        for job_id in lease.jobs:
            job = store.jobs[job_id]
            if job.cancel_requested and job.fence is not None:  # Guard: only requested cancels
                cancels.append(CancelNotice(job_id, job.fence, lease_id))
    return ExtendAnswer(lost=tuple(lost), cancels=tuple(cancels))
