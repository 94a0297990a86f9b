"""reclaim: take over running jobs; the answer of `lua/reclaim.lua`.

transitions: see lua/reclaim.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.broker.requests import ReclaimAnswer, ReclaimRequest
from penstock.core.ids import LeaseId

from .claim import handed_out


def reclaimed(request: ReclaimRequest, answer: Sequence[Any]) -> ReclaimAnswer:
    """Return the answer; each job names who ran it before."""
    hold_ms, closed, handout, before = answer
    taken = handed_out(handout, request.lease, request.fence)
    owners = zip(before[::2], before[1::2], strict=True)
    jobs = tuple(
        msgspec.structs.replace(job, worker=worker.decode(), pid=pid)
        for job, (worker, pid) in zip(taken, owners, strict=True)
    )
    leases = tuple(LeaseId(lease.hex()) for lease in closed)
    return ReclaimAnswer(jobs=jobs, closed=leases, hold_ms=int(hold_ms))
