"""Random requests: few values of each kind, so that they meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from hypothesis import strategies as st

from penstock.broker import requests as r
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import ALONE, SHARED, Charges, JobSpec, Parent, Reason
from penstock.core.usage import Usage

QUEUES: Final = ("one", "two")
#: The lease of every worker of the machine.
LEASE_MS: Final = 12_000

NEEDS: Final = (SHARED, ALONE, "alone.m3")
_USAGES: Final = st.sampled_from([None, None, Usage(peak_bytes=1), Usage(cpu_ms=2)])
_DELAYS: Final = st.sampled_from([None, None, 0, 9, 100])


@st.composite
def enqueues(
    draw: st.DrawFn, known: Sequence[JobId], new_id: Callable[[str], JobId]
) -> list[r.EnqueueRequest]:
    """Draw a batch of two to six jobs; `new_id` makes an id for a queue."""
    batch: list[r.EnqueueRequest] = []
    for _ in range(draw(st.integers(2, 6))):
        queue = draw(st.sampled_from(QUEUES))
        parents = [*known, *(request.id for request in batch)]
        batch.append(draw(_one_job(queue, new_id(queue), parents)))
    repeats_one: bool = draw(st.integers(0, 9)) == 0
    if repeats_one:
        batch.append(draw(st.sampled_from(batch)))
    return batch


@st.composite
def _one_job(
    draw: st.DrawFn, queue: str, job_id: JobId, possible: Sequence[JobId]
) -> r.EnqueueRequest:
    parents: list[JobId] = []
    has_parents: bool = draw(st.booleans())
    if possible and has_parents:
        parents = draw(st.lists(st.sampled_from(possible), unique=True, max_size=3))
    key = draw(st.sampled_from([None, None, "a", "b"]))
    return r.EnqueueRequest(
        id=job_id,
        queue=queue,
        spec=JobSpec(
            task="task",
            payload=msgspec.Raw(b"{}"),
            priority=draw(st.sampled_from([0, 5, 5, 10])),
            need=draw(st.sampled_from(NEEDS)),
            expires_ms=draw(st.sampled_from([None, None, None, 0, 50, 20_000])),
            key=key,
            result_ttl_ms=draw(st.sampled_from([None, 0, 100])),
        ),
        delay_ms=draw(_DELAYS),
        parents=tuple(Parent(parent, draw(st.booleans())) for parent in parents),
        key_digest=None if key is None else draw(st.sampled_from(["d1", "d1", "d2"])),
        key_ttl_ms=draw(st.sampled_from([100, 86_400_000])),
    )


@st.composite
def claims(draw: st.DrawFn, leases: Sequence[LeaseId], fence: Fence) -> r.ClaimRequest:
    """Draw a claim of a few sets under one of the leases, mostly the newest."""
    lease = draw(st.sampled_from([leases[-1], leases[-1], *leases]))
    queues = draw(st.lists(st.sampled_from(QUEUES), unique=True, min_size=1))
    needs = st.lists(st.sampled_from(NEEDS), unique=True, min_size=1)
    offers = [
        r.Offer(queue, tuple(draw(needs)), draw(st.sampled_from([None, None, 1])))
        for queue in queues
    ]
    limit = draw(st.sampled_from([1, 3]))
    return r.ClaimRequest(lease=lease, offers=tuple(offers), limit=limit, fence=fence)


@st.composite
def settlement(draw: st.DrawFn, job_id: JobId, fence: Fence) -> s.Settlement:
    """Draw a settlement of any kind, of an attempt that was measured or not."""
    charges = Charges(errors=draw(st.integers(0, 2)))
    need = draw(st.sampled_from([None, ALONE]))
    delay_ms = draw(st.sampled_from([0, 9, 100]))
    reason = draw(st.sampled_from([Reason.POISON, Reason.DISCARDED]))
    kinds: list[s.Settlement] = [
        s.Complete(id=job_id, fence=fence, outcome="succeeded", result=b"1"),
        s.Retry(
            id=job_id, fence=fence, outcome="failed",
            delay_ms=delay_ms, charges=charges, need=need,
        ),
        s.Bury(id=job_id, fence=fence, outcome="failed", reason=reason, charges=charges),
        s.Snooze(id=job_id, fence=fence, outcome="snooze_asked", delay_ms=delay_ms),
        s.Release(id=job_id, fence=fence, outcome="interrupted", charges=charges, need=need),
        s.Cancel(id=job_id, fence=fence, outcome="discarded", reason=reason),
    ]  # fmt: skip
    return msgspec.structs.replace(draw(st.sampled_from(kinds)), usage=draw(_USAGES))
