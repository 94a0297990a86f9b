"""enqueue: store jobs.

transitions:
    (none) --enqueue--> queued
    (none) --enqueue--> scheduled
    (none) --enqueue--> blocked
    (none) --enqueue--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.broker.rules import check_enqueue
from penstock.broker.stored import write_spec
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.errors import DuplicateKey, JobNotFound, PayloadTooLarge

from .family import is_broken, is_satisfied
from .store import Job, KeyHold, Store


def enqueue(
    store: Store, requests: Sequence[EnqueueRequest], payload_bytes_max: int
) -> list[Accepted | Refused]:
    """Store each job, or say why not. Cost: O(log n) per job and one look-up per parent."""
    for request in requests:
        check_enqueue(request, store.tags.get(request.queue))
    now = store.clock.wall_ms()
    return [_enqueue_one(store, request, payload_bytes_max, now) for request in requests]


def _enqueue_one(
    store: Store, request: EnqueueRequest, payload_bytes_max: int, now: int
) -> Accepted | Refused:
    known = store.jobs.get(request.id)
    if known is not None and known.state is not None:  # Guard: same id is the same job
        return Accepted(known.id, known.state, Durability.NONE, duplicate=True)
    size = len(bytes(request.spec.payload))
    if size > payload_bytes_max:  # Guard: payload fits
        return Refused(
            PayloadTooLarge(
                f"payload of job {request.id} has {size} bytes, {payload_bytes_max} are allowed: "
                "store it elsewhere and pass its address"
            )
        )
    taken = _holder(store, request, now)
    if taken is not None:
        return taken
    for edge in request.parents:
        if edge.id not in store.jobs:  # Guard: parents are known
            return Refused(
                JobNotFound(
                    f"parent {edge.id} of job {request.id} is not known: it was never enqueued, "
                    "was deleted, or its retention is over"
                )
            )
    job = _new_job(request, now)
    to = _first_state(store, job, now)
    store.insert(job, to)
    if request.spec.key is not None:
        store.keys[request.spec.task, request.spec.key] = KeyHold(
            job.id, request.key_digest, now + request.key_ttl_ms, to
        )
    return Accepted(job.id, to, Durability.NONE)


def _holder(store: Store, request: EnqueueRequest, now: int) -> Accepted | Refused | None:
    """Return the answer for a key that is taken, None where it is free."""
    key = request.spec.key
    held = None if key is None else store.keys.get((request.spec.task, key))
    if held is None or now >= held.until:  # Guard: key window
        return None
    if held.digest != request.key_digest:  # Guard: key digest
        return Refused(
            DuplicateKey(
                f"key {key!r} of task {request.spec.task} belongs to job {held.job_id}, which has "
                "other arguments: use another key, or wait until its window ends",
                job_id=held.job_id,
            )
        )
    holder = store.jobs.get(held.job_id)
    state = held.last_state if holder is None or holder.state is None else holder.state
    return Accepted(held.job_id, state, Durability.NONE, duplicate=True)


def _new_job(request: EnqueueRequest, now: int) -> Job:
    spec = request.spec
    return Job(
        id=request.id,
        queue=request.queue,
        spec=write_spec(spec),
        task=spec.task,
        key=spec.key,
        priority=spec.priority,
        spec_need=spec.need,
        expires_ms=spec.expires_ms,
        result_ttl_ms=spec.result_ttl_ms,
        parents=request.parents,
        enqueued_at=now,
        need=spec.need,
        arrived_at=now,
        due_at=request.due_at if request.delay_ms is None else now + request.delay_ms,
        expires_at=None if spec.expires_ms is None else now + spec.expires_ms,
    )


def _first_state(store: Store, job: Job, now: int) -> State:
    if any(is_broken(store, edge) for edge in job.parents):
        job.reason, job.finished_at = Reason.PARENT_FAILED, now
        return State.CANCELLED
    job.parents_left = sum(not is_satisfied(store, edge) for edge in job.parents)
    if job.parents_left > 0:  # Guard: unfinished parents
        return State.BLOCKED
    if job.due_at is not None and job.due_at > now:  # Guard: not before it is due
        return State.SCHEDULED
    return State.QUEUED
