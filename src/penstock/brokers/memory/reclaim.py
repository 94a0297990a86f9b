"""reclaim: take over running jobs whose lease is closed or has run out.

transitions:
    running --reclaim--> running
"""

from __future__ import annotations

import msgspec

from penstock.broker.requests import ReclaimAnswer, ReclaimRequest
from penstock.core.ids import LeaseId
from penstock.core.job import Claimed
from penstock.core.lifecycle import Event, State

from .claim import as_claimed
from .lease import has_run_out, open_lease_of
from .store import Job, Lease, Store


def reclaim(store: Store, request: ReclaimRequest) -> ReclaimAnswer:
    """Close leases that ran out, and take jobs of closed ones. Cost: O(leases + jobs taken)."""
    taker = open_lease_of(store, request.lease)
    if taker is None:
        return ReclaimAnswer(jobs=(), closed=())
    queues = [queue for queue in request.queues if queue in taker.opened.queues]
    hold_ms = _tick(store, request.lease_ttl_ms)
    closed: list[LeaseId] = []
    if hold_ms == 0:  # Guard: hold
        closed = [i for i, lease in store.leases.items() if _ran_out(store, lease, queues)]
    for lease_id in closed:
        store.leases[lease_id].closed = True
    taken = [job for job in map(store.jobs.__getitem__, taker.jobs) if job.fence == request.fence]
    for job in _orphans(store, queues)[: request.limit - len(taken)]:
        _take(store, request, job)
        taken.append(job)
    return ReclaimAnswer(jobs=tuple(map(_as_taken, taken)), closed=tuple(closed), hold_ms=hold_ms)


def _tick(store: Store, lease_ttl_ms: int) -> int:
    """Note that a reaper is at work; return for how long it holds.

    After a gap nobody knows whether the owners were cut off together with the reapers, so they get
    one full lease to extend in. The first call of a boot is one, so leases of another boot get
    theirs too.
    """
    now, boot_id = store.clock.boot_ms(), store.clock.boot_id
    last = store.reaper_tick
    if last is None or last[0] != boot_id or now - last[1] > lease_ttl_ms // 2:  # Guard: gap
        store.reaper_hold_until = now + lease_ttl_ms
    store.reaper_tick = (boot_id, now)
    return max(0, store.reaper_hold_until - now)


def _ran_out(store: Store, lease: Lease, queues: list[str]) -> bool:
    if lease.closed or not set(queues) & set(lease.opened.queues):  # Guard: these queues only
        return False
    return has_run_out(lease, store.clock)  # Guard: ran out


def _orphans(store: Store, queues: list[str]) -> list[Job]:
    """Return the jobs of closed leases in these queues, oldest first."""
    found = [
        store.jobs[job_id]
        for lease in store.leases.values()
        if lease.closed  # Guard: only closed leases
        for job_id in lease.jobs
        if store.jobs[job_id].queue in queues  # Guard: only these queues
    ]
    return sorted(found, key=lambda job: job.id)


def _take(store: Store, request: ReclaimRequest, job: Job) -> None:
    # Fence: raised in the same step, so that what the former owner still sends is stale.
    store.move(job, Event.RECLAIM, State.RUNNING)
    job.fence, job.lease = request.fence, LeaseId(request.lease)
    store.leases[request.lease].jobs[job.id] = None


def _as_taken(job: Job) -> Claimed:
    before = job.attempts[-1]
    return msgspec.structs.replace(as_claimed(job), worker=before.worker, pid=before.pid)
