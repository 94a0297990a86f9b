"""claim: take the best jobs of the offered ready sets.

transitions:
    queued --claim--> running
    scheduled --due--> queued
    retrying --due--> queued
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from penstock.broker.requests import BATCH_MAX, ClaimAnswer, ClaimRequest, Offer
from penstock.broker.stored import read_spec
from penstock.core.job import ATTEMPTS_KEPT, AttemptRecord, Claimed
from penstock.core.lifecycle import Event, State
from penstock.core.need import wait_set

from .lease import open_lease_of
from .promote import promote
from .store import Job, Lease, Store


def claim(store: Store, request: ClaimRequest) -> ClaimAnswer:
    """Claim up to `request.limit` jobs.

    Cost: O(offered sets + taken x log offered sets), and one step per job past its deadline that
    stands before the last one taken; independent of the backlog.
    """
    lease = open_lease_of(store, request.lease)
    if lease is None:
        return ClaimAnswer(jobs=(), lease_open=False)
    earlier = [store.jobs[job_id] for job_id in lease.jobs]
    again = sorted((j for j in earlier if j.fence == request.fence), key=lambda job: job.place)
    if again:  # Guard: a repeat takes nothing more
        return ClaimAnswer(jobs=tuple(map(as_claimed, again)), lease_open=True)
    promote(store, [offer.queue for offer in request.offers], BATCH_MAX)
    offers = [offer for offer in request.offers if _gives(store, lease, offer)]
    taken = list(_take(store, request, offers))
    if taken:
        return ClaimAnswer(jobs=tuple(taken), lease_open=True)
    if request.wake_token is not None:
        sets = [(offer.queue, wait_set(need)) for offer in request.offers for need in offer.needs]
        store.wakeups.leave(request.wake_token, sets)
    return ClaimAnswer(jobs=(), lease_open=True, next_due_in_ms=_next_due_in(store, request))


def _gives(store: Store, lease: Lease, offer: Offer) -> bool:
    if offer.queue in store.paused:  # Guard: paused queues give nothing
        return False
    return offer.queue in lease.opened.queues  # Guard: the lease is for this queue


def _take(store: Store, request: ClaimRequest, offers: list[Offer]) -> Iterator[Claimed]:
    """Run the best jobs, in strict order of rank over all sets."""
    now = store.clock.wall_ms()
    left = {offer.queue: request.limit if offer.limit is None else offer.limit for offer in offers}
    walks = {
        (offer.queue, need): _walk(store, offer.queue, need, now)
        for offer in offers
        for need in offer.needs
    }
    heads = [(job.place, key) for key, walk in walks.items() if (job := next(walk, None))]
    heapq.heapify(heads)
    chosen: list[Job] = []
    while heads and len(chosen) < request.limit:
        (_, job_id), (queue, need) = heapq.heappop(heads)
        if left[queue] <= 0:  # Guard: the offer's own limit
            continue
        left[queue] -= 1
        chosen.append(store.jobs[job_id])
        following = next(walks[queue, need], None)
        if following is not None:
            heapq.heappush(heads, (following.place, (queue, need)))
    for job in chosen:
        yield _run(store, request, job, now)


def _walk(store: Store, queue: str, need: str, now: int) -> Iterator[Job]:
    for _, job_id in store.ready[queue, need]:
        job = store.jobs[job_id]
        if job.expires_at is not None and job.expires_at <= now:  # Guard: deadline
            continue
        yield job


def _run(store: Store, request: ClaimRequest, job: Job, now: int) -> Claimed:
    store.move(job, Event.CLAIM, State.RUNNING)
    lease = store.leases[request.lease]
    lease.jobs[job.id] = None
    job.fence, job.lease, job.claimed_at = request.fence, request.lease, now
    job.claim_number += 1
    owner = lease.opened.owner
    job.attempts.append(
        AttemptRecord(number=job.claim_number, worker=owner.worker, pid=owner.pid, started_at=now)
    )
    del job.attempts[:-ATTEMPTS_KEPT]
    return as_claimed(job)


def as_claimed(job: Job) -> Claimed:
    """Return a running job as its worker gets it."""
    spec, flaw = read_spec(job.spec)
    assert job.fence is not None and job.lease is not None  # noqa: S101, PT018 - it runs
    return Claimed(
        id=job.id,
        queue=job.queue,
        spec=spec,
        fence=job.fence,
        lease=job.lease,
        claim_number=job.claim_number,
        claimed_at=job.claimed_at,
        charges=job.charges,
        checkpoint=None if job.checkpoint is None else msgspec.Raw(job.checkpoint),
        flaw=flaw,
    )


def _next_due_in(store: Store, request: ClaimRequest) -> int | None:
    heads = [store.due[offer.queue][0][0] for offer in request.offers if store.due[offer.queue]]
    return max(0, min(heads) - store.clock.wall_ms()) if heads else None
