"""open_lease, extend, close_leases, restate, and what makes a lease good, for all who ask.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from penstock.broker.requests import CancelNotice, ExtendAnswer, OpenLease
from penstock.broker.stored import write_capacity
from penstock.core.capacity import Capacity
from penstock.core.ids import Fence, JobId, LeaseId

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("lease")


class GoodLease(NamedTuple):
    """A lease that is known, not closed, and has time left.

    Attributes:
        no: its row.
        worker: name of the worker behind it.
        pid: process behind it.
    """

    no: int
    worker: str
    pid: int


def open_lease(tx: Transaction, asked: OpenLease, tags: Mapping[str, int]) -> None:
    """Open the lease; an id that is known changes nothing, be it open or closed."""
    owner, clock = asked.owner, tx.clock
    opened = tx.row(
        _SQL["open"],
        (
            asked.id,
            owner.worker,
            owner.host,
            owner.boot_id,
            owner.pid_namespace,
            owner.pid,
            owner.started_ticks,
            asked.wake_token,
            clock.boot_id,
            clock.boot_ms() + asked.ttl_ms,
        ),
    )
    if opened is not None:
        queues = [(opened[0], place, tags[queue]) for place, queue in enumerate(asked.queues)]
        tx.each(_SQL["open_queue"], queues)
        if asked.capacity is not None:
            tx.rows(_SQL["open_capacity"], (asked.id, write_capacity(asked.capacity)))


def extend(tx: Transaction, leases: Sequence[LeaseId], ttl_ms: int) -> ExtendAnswer:
    """Extend each lease that is not closed, and fetch the cancels requested under it."""
    lost: list[LeaseId] = []
    cancels: list[CancelNotice] = []
    expires_boot_ms = tx.clock.boot_ms() + ttl_ms
    for lease in leases:
        extended = tx.row(_SQL["extend"], (lease, tx.clock.boot_id, expires_boot_ms))
        if extended is None:
            lost.append(lease)
            continue
        found = tx.rows(_SQL["cancels"], extended)
        cancels += (CancelNotice(JobId(job), Fence(fence), lease) for job, fence in found)
    return ExtendAnswer(lost=tuple(lost), cancels=tuple(cancels))


def close_leases(tx: Transaction, leases: Sequence[LeaseId]) -> None:
    """Close the leases that are known. Their jobs run on until `reclaim` takes them."""
    tx.each(_SQL["close"], [(lease,) for lease in leases])


def restate(tx: Transaction, lease: LeaseId, capacity: Capacity) -> None:
    """Let a known lease tell another capacity."""
    tx.rows(_SQL["restate"], (lease, write_capacity(capacity)))


def good_lease(tx: Transaction, lease: LeaseId) -> GoodLease | None:
    """Return the lease if it is known, not closed and has not run out."""
    found = tx.row(_SQL["good"], (lease, tx.clock.boot_id, tx.clock.boot_ms()))
    return None if found is None else GoodLease(*found)


def queues_of(tx: Transaction, lease: GoodLease) -> list[tuple[int, str, bool]]:
    """Return (tag, name, whether it is paused) of each queue of the lease."""
    found = tx.rows(_SQL["queues"], (lease.no,))
    return [(tag, name, bool(paused)) for tag, name, paused in found]
