"""claim: take the best jobs of the offered ready sets.

transitions:
    queued --claim--> running
    scheduled --due--> queued
    retrying --due--> queued
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from penstock.broker.requests import BATCH_MAX, ClaimAnswer, ClaimRequest
from penstock.broker.stored import read_spec
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import NO_CHARGES, Charges, Claimed
from penstock.core.lifecycle import State

from .lease import GoodLease, good_lease, queues_of
from .promote import next_due_in, promote
from .statements import read_statements
from .transaction import Row, Transaction

_SQL: Final = read_statements("claim")

#: (needs offered, whether the offer has its own limit) of each queue; it decides the statement.
_Shape = tuple[tuple[int, bool], ...]


def claim(tx: Transaction, request: ClaimRequest, tags: Mapping[str, int]) -> ClaimAnswer:
    """Claim up to `request.limit` jobs."""
    lease = good_lease(tx, request.lease)
    if lease is None:
        return ClaimAnswer(jobs=(), lease_open=False)
    queues = queues_of(tx, lease)
    names = {tag: name for tag, name, _ in queues}
    again = tx.rows(_SQL["taken"], (lease.no, request.fence))
    if again:  # Guard: a repeat takes nothing more
        return ClaimAnswer(jobs=_as_claimed(tx, again, request, names), lease_open=True)
    offered = [tags[offer.queue] for offer in request.offers if offer.queue in tags]
    promote(tx, offered, BATCH_MAX)
    giving = {
        name: tag
        for tag, name, paused in queues
        if not paused  # Guard: paused queues give nothing
    }
    taken = _take(tx, request, lease, giving)
    if taken:
        _count(tx, taken)
        if request.wake_token is not None:
            tx.rows(_SQL["no_longer_wait"], (request.wake_token,))
        return ClaimAnswer(jobs=_as_claimed(tx, taken, request, names), lease_open=True)
    if request.wake_token is not None:
        _wait(tx, request, request.wake_token, tags)
    return ClaimAnswer(jobs=(), lease_open=True, next_due_in_ms=next_due_in(tx, offered))


def _take(
    tx: Transaction, request: ClaimRequest, lease: GoodLease, giving: Mapping[str, int]
) -> list[Row]:
    """Run the best jobs, and return their rows in any order."""
    offers = [
        offer
        for offer in request.offers
        if offer.queue in giving and offer.needs  # Guard: the lease is for this queue
    ]
    if not offers:
        return []
    shape = tuple((len(offer.needs), offer.limit is not None) for offer in offers)
    bindings: list[object] = [request.fence, lease.no, lease.worker, lease.pid, tx.now]
    for offer in offers:
        for need in offer.needs:
            bindings += (giving[offer.queue], need, tx.now)
        if offer.limit is not None:
            bindings.append(offer.limit)
    bindings.append(request.limit)
    return tx.rows(_take_statement(shape), tuple(bindings))


@lru_cache(maxsize=256)
def _take_statement(shape: _Shape) -> str:
    """Return the statement for offers of this shape."""
    arms: list[str] = []
    for needs, has_limit in shape:
        sets = "\nUNION ALL\n".join([_SQL["head"]] * needs)
        if has_limit:
            sets = _SQL["heads_of_queue"].format(heads=sets)
        arms.append(sets)
    heads = "\nUNION ALL\n".join(arms)
    return _SQL["take"].format(heads=f"\n{heads}\nORDER BY rank, id\nLIMIT ?\n")


def _count(tx: Transaction, taken: list[Row]) -> None:
    for _, _, queue, need, *_ in taken:
        tx.moved(queue, State.QUEUED, State.RUNNING)
        if tx.fresh:
            tx.fresh[queue, need] -= 1


def _wait(tx: Transaction, request: ClaimRequest, token: str, tags: Mapping[str, int]) -> None:
    sets = [
        (tags[offer.queue], need, token)
        for offer in request.offers
        if offer.queue in tags
        for need in offer.needs
    ]
    tx.each(_SQL["wait"], sets)


def _as_claimed(
    tx: Transaction, rows: Sequence[Row], request: ClaimRequest, names: Mapping[int, str]
) -> tuple[Claimed, ...]:
    lease, fence = LeaseId(request.lease), Fence(request.fence)
    return tuple(as_claimed(tx, row, lease, fence, names[row[2]]) for row in sorted(rows))


def as_claimed(tx: Transaction, row: Row, lease: LeaseId, fence: Fence, queue: str) -> Claimed:
    """Return a running job as its worker gets it."""
    _, job_id, _, _, stored, claim_number, claimed_at, charges, has_note = row
    spec, flaw = read_spec(stored)
    return Claimed(
        id=JobId(job_id),
        queue=queue,
        spec=spec,
        fence=fence,
        lease=lease,
        claim_number=claim_number,
        claimed_at=claimed_at,
        charges=NO_CHARGES if charges is None else msgspec.json.decode(charges, type=Charges),
        checkpoint=_checkpoint(tx, job_id) if has_note else None,
        flaw=flaw,
    )


def _checkpoint(tx: Transaction, job_id: str) -> msgspec.Raw | None:
    found = tx.row(_SQL["checkpoint"], (job_id,))
    return None if found is None or found[0] is None else msgspec.Raw(found[0])
