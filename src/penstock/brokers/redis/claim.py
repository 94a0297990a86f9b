"""claim: take the best jobs of the offered ready sets; words and answers of `lua/claim.lua`.

transitions: see lua/claim.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.broker.requests import ClaimAnswer, ClaimRequest
from penstock.broker.stored import NO_SPEC, read_charges, read_spec
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import Claimed

from .server import Word
from .stored import job_id_of, json_of, to_raw

#: Fields of a job in an answer: queue, id, spec, number, instant, charges, checkpoint.
FIELDS = 7


def words_of(request: ClaimRequest) -> list[Word]:
    """Return the arguments of the script."""
    words: list[Word] = [
        to_raw(request.lease),
        to_raw(request.fence),
        request.limit,
        request.wake_token or "",
        len(request.offers),
    ]
    for offer in request.offers:
        limit = request.limit if offer.limit is None else offer.limit
        words += (offer.queue, limit, len(offer.needs), *offer.needs)
    return words


def answer_of(request: ClaimRequest, answer: Sequence[Any]) -> ClaimAnswer:
    """Return the answer."""
    is_open, due_in, fields = answer
    jobs = tuple(
        claimed(fields[at : at + FIELDS], request.lease, request.fence)
        for at in range(0, len(fields), FIELDS)
    )
    return ClaimAnswer(
        jobs=jobs, lease_open=bool(is_open), next_due_in_ms=int(due_in) if due_in else None
    )


def claimed(fields: Sequence[Any], lease: LeaseId, fence: Fence) -> Claimed:
    """Return a running job as its worker gets it."""
    queue, raw_id, stored, number, claimed_at, stored_charges, checkpoint = fields
    spec, flaw = read_spec(json_of(stored))
    charges, flaw_of_charges = read_charges(stored_charges or None)
    if flaw is None and flaw_of_charges is not None:
        spec, flaw = NO_SPEC, flaw_of_charges
    return Claimed(
        id=job_id_of(raw_id),
        queue=queue.decode(),
        spec=spec,
        fence=fence,
        lease=lease,
        claim_number=int(number),
        claimed_at=int(claimed_at),
        charges=charges,
        checkpoint=msgspec.Raw(checkpoint) if checkpoint else None,
        flaw=flaw,
    )
