"""claim: take the best jobs of the offered ready sets.

transitions:
    queued --claim--> running
    scheduled --due--> queued
    retrying --due--> queued

A claim that finds nothing falls asleep in three steps, each a transaction: it looks, it leaves its
token, it looks again. Who makes a job claimable first commits it and then looks for tokens. So one
of the two sees the other, and nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.broker.requests import BATCH_MAX, ClaimAnswer, ClaimRequest
from penstock.broker.stored import NO_SPEC, read_charges, read_spec
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed
from penstock.core.need import wait_set

from . import arrays
from .promote import count_promoted, next_due_in, send_promote
from .statements import read_statements
from .transaction import Row, Transaction

_SQL: Final = read_statements("claim")
_SLEEPER: Final = read_statements("sleeper")

Tags = Mapping[str, int]
"""Queue -> its tag."""


def claim(tx: Transaction, request: ClaimRequest, tags: Tags) -> Callable[[], list[Claimed]]:
    """Claim up to `request.limit` jobs.

    Returns:
        What reads the jobs once they are taken; none: `fall_asleep` says why.
    """
    offered = _offered(request, tags)
    tx.send(_SQL["one_call"], {"fence": request.fence})
    due = _tags_of(request, tags)
    promoted = send_promote(tx, due, BATCH_MAX, lease=request.lease, fence=request.fence)
    values = {"lease": request.lease, "fence": request.fence, "limit": request.limit, **offered}
    taken = tx.send(_SQL["take"], values)
    if request.wake_token is not None:
        tx.send(_SLEEPER["forget"], {"token": request.wake_token})

    def read() -> list[Claimed]:
        count_promoted(tx, promoted)
        rows = taken.fetchall()
        for row in rows:
            if row[2:4] in tx.fresh:
                tx.fresh[row[2:4]] -= 1
        return as_claimed_by(request, rows, tags)

    return read


def fall_asleep(tx: Transaction, request: ClaimRequest, tags: Tags) -> ClaimAnswer:
    """Answer a claim that took nothing, and leave its token; a repeat gets what its first took."""
    lease, fence = request.lease, request.fence
    good = tx.send(_SQL["is_lease_good"], {"lease": lease})
    taken = tx.rows(_SQL["taken"], {"lease": lease, "fence": fence})
    if not good.fetchall():  # Guard: who has no lease sleeps nowhere
        return ClaimAnswer(jobs=(), lease_open=False)
    if taken:
        return ClaimAnswer(jobs=tuple(as_claimed_by(request, taken, tags)), lease_open=True)
    if request.wake_token is not None:
        place = {"token": request.wake_token, "lease": lease}
        tx.send(_SQL["wait"], {**place, **_waits(request, tags)})
    next_due_in_ms = next_due_in(tx, _tags_of(request, tags))
    return ClaimAnswer(jobs=(), lease_open=True, next_due_in_ms=next_due_in_ms)


def _tags_of(request: ClaimRequest, tags: Tags) -> list[int]:
    return sorted(tags[offer.queue] for offer in request.offers if offer.queue in tags)


def _offered(request: ClaimRequest, tags: Tags) -> dict[str, Any]:
    offered = [
        (tags[offer.queue], need, request.limit if offer.limit is None else offer.limit)
        for offer in request.offers
        if offer.queue in tags
        for need in offer.needs
    ]
    queues, needs, limits = zip(*offered, strict=True) if offered else ((), (), ())
    return {
        "queues": arrays.bigints(queues),
        "needs": arrays.texts(needs),
        "limits": arrays.bigints(limits),
    }


def _waits(request: ClaimRequest, tags: Tags) -> dict[str, Any]:
    sets = {
        (tags[offer.queue], wait_set(need))
        for offer in request.offers
        if offer.queue in tags
        for need in offer.needs
    }
    return {
        "queues": arrays.bigints([queue for queue, _ in sorted(sets)]),
        "needs": arrays.texts([need for _, need in sorted(sets)]),
    }


def as_claimed_by(request: ClaimRequest, rows: Sequence[Row], tags: Tags) -> list[Claimed]:
    """Return the jobs of a claim, best rank first."""
    names = {tags[offer.queue]: offer.queue for offer in request.offers if offer.queue in tags}
    lease, fence = LeaseId(request.lease), Fence(request.fence)
    return [as_claimed(row, lease, fence, names[row[2]]) for row in sorted(rows, key=_place)]


def _place(row: Row) -> Row:
    return row[:2]


def as_claimed(row: Row, lease: LeaseId, fence: Fence, queue: str) -> Claimed:
    """Return a running job as its worker gets it."""
    _, job_id, _, _, stored, claim_number, claimed_at, stored_charges, checkpoint = row[:9]
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
        checkpoint=None if checkpoint is None else msgspec.Raw(checkpoint),
        flaw=flaw,
    )
