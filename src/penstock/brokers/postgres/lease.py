"""open_lease, extend, close_leases, restate, and what makes a lease good for `reclaim`.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from penstock.broker.requests import CancelNotice, ExtendAnswer, OpenLease
from penstock.broker.stored import write_capacity
from penstock.core.capacity import Capacity
from penstock.core.ids import Fence, JobId, LeaseId

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("lease")


def open_lease(tx: Transaction, asked: OpenLease, tags: Mapping[str, int]) -> None:
    """Open the lease; an id that is known changes nothing, be it open or closed."""
    owner = asked.owner
    values = {
        "id": asked.id,
        "queues": [tags[queue] for queue in asked.queues],
        "worker": owner.worker,
        "host": owner.host,
        "boot_id": owner.boot_id,
        "pid_namespace": owner.pid_namespace,
        "pid": owner.pid,
        "started_ticks": owner.started_ticks,
        "wake_token": asked.wake_token,
        "ttl_ms": asked.ttl_ms,
        "capacity": None if asked.capacity is None else write_capacity(asked.capacity),
    }
    tx.send(_SQL["open"], values)


def extend(tx: Transaction, leases: Sequence[LeaseId], ttl_ms: int) -> ExtendAnswer:
    """Extend each lease that is not closed, and fetch the cancels requested under it."""
    ids = list(leases)
    extended = tx.send(_SQL["extend"], {"leases": ids, "ttl_ms": ttl_ms})
    requested = tx.rows(_SQL["cancels"], {"leases": ids})
    alive = {lease for (lease,) in extended.fetchall()}
    return ExtendAnswer(
        lost=tuple(lease for lease in leases if lease not in alive),
        cancels=tuple(
            CancelNotice(JobId(job), Fence(fence), LeaseId(lease))
            for job, fence, lease in requested
            if lease in alive
        ),
    )


def close_leases(tx: Transaction, leases: Sequence[LeaseId]) -> None:
    """Close the leases that are known. Their jobs run on until `reclaim` takes them."""
    tx.send(_SQL["close"], {"leases": list(leases)})


def restate(tx: Transaction, lease: LeaseId, capacity: Capacity) -> None:
    """Let a known lease tell another capacity."""
    tx.send(_SQL["restate"], {"lease": lease, "capacity": write_capacity(capacity)})


def queues_of_good_lease(tx: Transaction, lease: LeaseId) -> list[int] | None:
    """Return the queues of a lease that is known, not closed and has time left, else None.

    Until the transaction ends nobody closes it.
    """
    found = tx.row(_SQL["good"], {"lease": lease})
    return None if found is None else list(found[1])
