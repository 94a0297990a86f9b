"""reclaim: take over running jobs; the answer of `lua/reclaim.lua`.

transitions: see lua/reclaim.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.broker.requests import ReclaimAnswer, ReclaimRequest
from penstock.core.ids import LeaseId

from .claim import FIELDS, claimed


def reclaimed(request: ReclaimRequest, answer: Sequence[Any]) -> ReclaimAnswer:
    """Return the answer; each job names who ran it before."""
    hold_ms, closed, fields = answer
    step = FIELDS + 2
    jobs = tuple(
        msgspec.structs.replace(
            claimed(fields[at : at + FIELDS], request.lease, request.fence),
            worker=fields[at + FIELDS].decode(),
            pid=int(fields[at + FIELDS + 1]),
        )
        for at in range(0, len(fields), step)
    )
    leases = tuple(LeaseId(lease.hex()) for lease in closed)
    return ReclaimAnswer(jobs=jobs, closed=leases, hold_ms=int(hold_ms))
