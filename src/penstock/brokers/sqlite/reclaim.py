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
from .lease import good_lease, queues_of
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("reclaim")


def reclaim(tx: Transaction, request: ReclaimRequest) -> ReclaimAnswer:
    """Close leases that ran out, and take jobs of closed ones under the taker's lease and fence."""
    taker = good_lease(tx, request.lease)
    if taker is None:
        return ReclaimAnswer(jobs=(), closed=())
    names = {tag: name for tag, name, _ in queues_of(tx, taker) if name in request.queues}
    hold_ms = _tick(tx, request.lease_ttl_ms)
    closed: list[LeaseId] = []
    if hold_ms == 0:  # Guard: hold
        closed = _close_run_out(tx, list(names))
    # A repeat gives the jobs that the first call took, and counts them towards the limit.
    taken = tx.rows(_SQL["taken"], (taker.no, request.fence))
    room = request.limit - len(taken)
    orphans = tx.rows(_SQL["orphans"], (_json(names), room)) if room > 0 else []
    # Fence: raised in the same step, so that what the former owner still sends is stale.
    tx.each(_SQL["take"], [(row[2], request.fence, taker.no) for row in orphans])
    taken += orphans
    jobs = tuple(
        msgspec.structs.replace(
            as_claimed(tx, row[:10], request.lease, request.fence, names[row[3]]),
            worker=row[10],
            pid=row[11],
        )
        for row in sorted(taken, key=lambda row: str(row[1]))
    )
    return ReclaimAnswer(jobs=jobs, closed=tuple(closed), hold_ms=hold_ms)


def _tick(tx: Transaction, lease_ttl_ms: int) -> int:
    """Note that a reaper is at work; return for how long it holds.

    After a gap nobody knows whether the owners were cut off together with the reapers, so they get
    one full lease to extend in. The first call of a boot is one, so leases of another boot get
    theirs too.
    """
    now, boot_id = tx.clock.boot_ms(), tx.clock.boot_id
    last = tx.row(_SQL["tick"])
    hold_until = 0 if last is None else int(last[2])
    if last is None or last[0] != boot_id or now - last[1] > lease_ttl_ms // 2:  # Guard: gap
        hold_until = now + lease_ttl_ms
    tx.rows(_SQL["note_tick"], (boot_id, now, hold_until))
    return max(0, hold_until - now)


def _close_run_out(tx: Transaction, tags: Sequence[int]) -> list[LeaseId]:
    bindings = (tx.clock.boot_id, tx.clock.boot_ms(), _json(tags))
    closed = tx.rows(_SQL["close_run_out"], bindings)
    return [LeaseId(lease) for (lease,) in closed]


def _json(tags: Sequence[int] | dict[int, str]) -> str:
    return msgspec.json.encode(list(tags)).decode()
