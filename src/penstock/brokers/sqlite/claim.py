"""claim: take the best jobs of the offered ready sets.

transitions:
    queued --claim--> running
    scheduled --due--> queued
    retrying --due--> queued
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from penstock.broker.requests import BATCH_MAX, ClaimAnswer, ClaimRequest, Offer
from penstock.broker.stored import NO_SPEC, read_charges, read_spec
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed
from penstock.core.lifecycle import State
from penstock.core.need import wait_set

from .lease import GoodLease, good_lease, queues_of
from .promote import next_due_in, promote
from .statements import read_statements
from .transaction import Row, Transaction

_SQL: Final = read_statements("claim")
_UNION: Final = "\nUNION ALL\n"

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
        if request.wake_token is not None:
            tx.rows(_SQL["no_longer_wait"], (request.wake_token,))
        return ClaimAnswer(jobs=_as_claimed(tx, taken, request, names), lease_open=True)
    if request.wake_token is not None:
        _wait(tx, request, request.wake_token, tags)
    return ClaimAnswer(jobs=(), lease_open=True, next_due_in_ms=next_due_in(tx, offered))


def _take(
    tx: Transaction, request: ClaimRequest, lease: GoodLease, giving: Mapping[str, int]
) -> list[Row]:
    """Run the best jobs, and return their rows."""
    offers = [
        offer
        for offer in request.offers
        if offer.needs and offer.queue in giving  # Guard: the lease is for this queue
    ]
    if not offers:
        return []
    heads = tx.rows(heads_statement(offers), _heads_bindings(tx, request, offers, giving))
    run = (request.fence, lease.no, lease.worker, lease.pid, tx.now)
    tx.each(_SQL["take"], [(row[2], *run) for row in heads])
    for (queue, need), jobs in Counter(row[3:5] for row in heads).items():
        tx.moved(queue, State.QUEUED, State.RUNNING, jobs)
        if (queue, need) in tx.fresh:
            tx.fresh[queue, need] -= jobs
    return heads


def heads_statement(offers: Sequence[Offer]) -> str:
    """Return the statement for offers of this shape."""
    return _statement(tuple((len(offer.needs), offer.limit is not None) for offer in offers))


@lru_cache(maxsize=256)
def _statement(shape: _Shape) -> str:
    arms: list[str] = []
    for needs, has_limit in shape:
        sets = _UNION.join([_SQL["arm"]] * needs)
        arms.append(_SQL["arms_of_queue"].format(arms=sets) if has_limit else sets)
    return _SQL["heads"].format(arms=_UNION.join(arms))


def _heads_bindings(
    tx: Transaction, request: ClaimRequest, offers: Sequence[Offer], giving: Mapping[str, int]
) -> Row:
    bindings: list[str | int] = [tx.now]
    for offer in offers:
        for need in offer.needs:
            bindings += (giving[offer.queue], need, tx.now)
        if offer.limit is not None:
            bindings.append(offer.limit)
    return (*bindings, request.limit)


def _wait(tx: Transaction, request: ClaimRequest, token: str, tags: Mapping[str, int]) -> None:
    sets = {
        (tags[offer.queue], wait_set(need), token)
        for offer in request.offers
        if offer.queue in tags
        for need in offer.needs
    }
    tx.each(_SQL["wait"], sorted(sets))


def _as_claimed(
    tx: Transaction, rows: Sequence[Row], request: ClaimRequest, names: Mapping[int, str]
) -> tuple[Claimed, ...]:
    lease, fence = LeaseId(request.lease), Fence(request.fence)
    return tuple(as_claimed(tx, row, lease, fence, names[row[3]]) for row in sorted(rows))


def as_claimed(tx: Transaction, row: Row, lease: LeaseId, fence: Fence, queue: str) -> Claimed:
    """Return a running job as its worker gets it."""
    _, job_id, _, _, _, stored, claim_number, claimed_at, stored_charges, has_note = row
    spec, flaw = read_spec(b"" if stored is None else stored)
    charges, flaw_of_charges = read_charges(stored_charges)
    if flaw is None and flaw_of_charges is not None:
        spec, flaw = NO_SPEC, flaw_of_charges
    return Claimed(
        id=JobId(job_id),
        queue=queue,
        spec=spec,
        fence=fence,
        lease=lease,
        claim_number=claim_number,
        claimed_at=claimed_at,
        charges=charges,
        checkpoint=_checkpoint(tx, job_id) if has_note else None,
        flaw=flaw,
    )


def _checkpoint(tx: Transaction, job_id: str) -> msgspec.Raw | None:
    found = tx.row(_SQL["checkpoint"], (job_id,))
    return None if found is None or found[0] is None else msgspec.Raw(found[0])
