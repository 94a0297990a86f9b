"""claim: take the best jobs of the offered ready sets; words and answers of `lua/claim.lua`.

transitions: see lua/claim.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.broker.requests import ClaimAnswer, ClaimRequest
from penstock.broker.stored import NO_SPEC, read_charges, read_spec
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import Claimed

from .stored import json_of, to_raw, whole_id
from .wire import Word

#: Fields of a job that is not as usual: place, number, instant, charges, checkpoint.
_FIELDS: Final = 5


class _Unusual(NamedTuple):
    """What a job has that most have not."""

    number: int
    claimed_at: int
    charges: bytes
    checkpoint: bytes


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
    is_open, due_in, handout = answer
    return ClaimAnswer(
        jobs=tuple(handed_out(handout, request.lease, request.fence)),
        lease_open=bool(is_open),
        next_due_in_ms=int(due_in) if due_in else None,
    )


def handed_out(handout: Sequence[Any], lease: LeaseId, fence: Fence) -> list[Claimed]:
    """Return running jobs as their worker gets them, best rank first."""
    named, claimed_at, jobs, places, fields = handout
    if not jobs:
        return []
    queues = [(name.decode(), tag.hex()) for name, tag in zip(named[::2], named[1::2], strict=True)]
    usual = _Unusual(1, claimed_at, b"", b"")
    unusual = {
        fields[at]: _Unusual(*fields[at + 1 : at + _FIELDS])
        for at in range(0, len(fields), _FIELDS)
    }
    found = []
    for place, (short, stored) in enumerate(zip(jobs[::2], jobs[1::2], strict=True)):
        queue, tag = queues[places[place] if places else 0]
        spec, flaw = read_spec(json_of(stored))
        job = unusual.get(place, usual)
        if job is usual:
            found.append(
                Claimed(
                    id=whole_id(short, tag), queue=queue, spec=spec, fence=fence, lease=lease,
                    claim_number=1, claimed_at=claimed_at, flaw=flaw,
                )
            )  # fmt: skip
            continue
        charges, flaw_of_charges = read_charges(job.charges or None)
        if flaw is None and flaw_of_charges is not None:
            spec, flaw = NO_SPEC, flaw_of_charges
        found.append(
            Claimed(
                id=whole_id(short, tag),
                queue=queue,
                spec=spec,
                fence=fence,
                lease=lease,
                claim_number=job.number,
                claimed_at=job.claimed_at,
                charges=charges,
                checkpoint=msgspec.Raw(job.checkpoint) if job.checkpoint else None,
                flaw=flaw,
            )
        )
    return found
