"""peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.broker.requests import (
    JobFilter,
    JobPage,
    JobStatus,
    LeaseFacts,
    QueueCounts,
)
from penstock.broker.stored import read_spec
from penstock.core.ids import JobId
from penstock.core.job import PRIORITY_MAX, JobRecord
from penstock.core.lifecycle import State
from penstock.core.rank import rank_of

from .store import Job, Store


def peek(store: Store, ids: Sequence[JobId]) -> list[JobStatus | None]:
    """Return state and result of each job. Cost: one look-up per id."""
    return [_status(store.jobs.get(job_id)) for job_id in ids]


def get(store: Store, job_id: JobId) -> JobRecord | None:
    """Return everything that is known of one job."""
    job = store.jobs.get(job_id)
    return None if job is None else _record(job)


def list_jobs(store: Store, where: JobFilter, limit: int, before: JobId | None) -> JobPage:
    """Return the jobs that match, newest id first. Cost: O(jobs looked at)."""
    found: list[JobRecord] = []
    at = len(store.ids) if before is None else store.ids.below(before)
    while at > 0:
        at -= 1
        job = store.jobs[store.ids[at]]
        if not _matches(job, where):
            continue
        if len(found) == limit:
            return JobPage(tuple(found), found[-1].id)
        found.append(_record(job))
    return JobPage(tuple(found), None)


def counts(store: Store) -> list[QueueCounts]:
    """Return the counters of every queue, by name. Cost: O(queues x ready sets)."""
    return [_counts_of(store, queue) for queue in sorted(store.tags)]


def needs(store: Store, queues: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the ready sets that are not empty. Cost: O(ready sets)."""
    return {
        queue: sorted(need for (name, need), jobs in store.ready.items() if name == queue and jobs)
        for queue in queues
    }


def leases(store: Store) -> list[LeaseFacts]:
    """Return the leases that are not closed, those that have run out too."""
    return [
        LeaseFacts(
            id=lease.opened.id,
            queues=lease.opened.queues,
            owner=lease.opened.owner,
            expires_in_ms=(
                lease.expires_at - store.clock.boot_ms()
                if lease.boot_id == store.clock.boot_id
                else None
            ),
            running=len(lease.jobs),
            wake_token=lease.opened.wake_token,
            capacity=lease.opened.capacity,
        )
        for lease in store.leases.values()
        if not lease.closed
    ]


def _status(job: Job | None) -> JobStatus | None:
    if job is None or job.state is None:
        return None
    return JobStatus(
        id=job.id,
        state=job.state,
        reason=job.reason,
        result=_raw(job.result),
        result_dropped=job.result_dropped,
        error=next((a.error for a in reversed(job.attempts) if a.error), None),
    )


def _record(job: Job) -> JobRecord:
    spec, _ = read_spec(job.spec)
    assert job.state is not None  # noqa: S101 - narrows the type; a stored job has a state
    return JobRecord(
        id=job.id,
        queue=job.queue,
        spec=spec,
        state=job.state,
        enqueued_at=job.enqueued_at,
        due_at=job.due_at,
        expires_at=job.expires_at,
        finished_at=job.finished_at,
        reason=job.reason,
        claim_number=job.claim_number,
        charges=job.charges,
        parents=job.parents,
        parents_left=job.parents_left,
        cancel_requested=job.cancel_requested,
        attempts=tuple(job.attempts),
        result=_raw(job.result),
        result_dropped=job.result_dropped,
        progress=_raw(job.progress),
        checkpoint=_raw(job.checkpoint),
        log=tuple(job.log),
    )


def _matches(job: Job, where: JobFilter) -> bool:
    return (
        (where.queue is None or job.queue == where.queue)
        and (where.states is None or job.state in where.states)
        and (where.task is None or job.task == where.task)
        and (where.reason is None or job.reason == where.reason)
    )


def _counts_of(store: Store, queue: str) -> QueueCounts:
    arrivals = [
        store.jobs[jobs[at][1]].arrived_at
        for (name, _), jobs in store.ready.items()
        if name == queue
        # The oldest of a ready set is the head of one of its priority bands.
        for priority in range(PRIORITY_MAX + 1)
        if (at := jobs.below((rank_of(priority, 0), JobId("")))) < len(jobs)
    ]
    oldest = store.clock.wall_ms() - min(arrivals) if arrivals else None
    return QueueCounts(
        queue=queue,
        paused=queue in store.paused,
        oldest_queued_ms=oldest,
        **{str(state): store.counters[queue, state] for state in State},
    )


def _raw(stored: bytes | None) -> msgspec.Raw | None:
    return None if stored is None else msgspec.Raw(stored)
