"""reclaim: take over running jobs whose lease is closed or has run out.

transitions:
    running --reclaim--> running
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.broker.requests import ReclaimAnswer, ReclaimRequest
from penstock.core.ids import LeaseId

from .claim import as_claimed
from .lease import queues_of_good_lease
from .register import known_queues
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("reclaim")


def reclaim(tx: Transaction, request: ReclaimRequest) -> ReclaimAnswer:
    """Close leases that ran out, and take jobs of closed ones under the taker's lease and fence."""
    own = queues_of_good_lease(tx, request.lease)
    if own is None:
        return ReclaimAnswer(jobs=(), closed=())
    known = known_queues(tx)
    names = {known[name]: name for name in request.queues if known.get(name) in own}
    hold_ms, now = _tick(tx, request.lease_ttl_ms)
    closed: list[LeaseId] = []
    if hold_ms == 0:  # Guard: hold
        closed = _close_run_out(tx, list(names), now)
    # A repeat gives the jobs that the first call took, and counts them towards the limit.
    taken = tx.rows(_SQL["taken"], {"lease": request.lease, "fence": request.fence})
    room = request.limit - len(taken)
    orphans = tx.rows(_SQL["orphans"], {"queues": list(names), "limit": room}) if room > 0 else []
    # Fence: raised in the same step, so that what the former owner still sends is stale.
    take = {"fence": request.fence, "lease": request.lease, "ids": [row[1] for row in orphans]}
    tx.send(_SQL["take"], take)
    taken += orphans
    jobs = tuple(
        msgspec.structs.replace(
            as_claimed(row, request.lease, request.fence, names[row[2]]), worker=row[9], pid=row[10]
        )
        for row in sorted(taken, key=lambda row: str(row[1]))
    )
    return ReclaimAnswer(jobs=jobs, closed=tuple(closed), hold_ms=hold_ms)


def _tick(tx: Transaction, lease_ttl_ms: int) -> tuple[int, int]:
    """Note that a reaper is at work; return for how long it holds, and the lease clock.

    After a gap nobody knows whether the owners were cut off together with the reapers, so they get
    one full lease to extend in. A restart of the server is such a gap where it lasts long enough to
    matter: the lease clock goes on, so that a short one takes no more from a lease than its length.
    """
    [(last, hold_until, now)] = tx.rows(_SQL["tick"])
    if last is None or now - last > lease_ttl_ms // 2:  # Guard: gap
        hold_until = now + lease_ttl_ms
    tx.send(_SQL["note_tick"], {"now": now, "hold_until": hold_until})
    return max(0, hold_until - now), now


def _close_run_out(tx: Transaction, tags: Sequence[int], now: int) -> list[LeaseId]:
    closed = tx.rows(_SQL["close_run_out"], {"queues": list(tags), "now": now})
    return [LeaseId(lease) for (lease,) in closed]
