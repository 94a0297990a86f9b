"""cancel: end waiting jobs, and ask running ones to end.

transitions:
    blocked --cancel--> cancelled
    scheduled --cancel--> cancelled
    queued --cancel--> cancelled
    retrying --cancel--> cancelled
    running --cancel--> running
    blocked --unblock--> queued
    blocked --unblock--> scheduled
    blocked --parent_failed--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import CancelAnswer
from penstock.core.ids import JobId
from penstock.core.job import Reason
from penstock.core.lifecycle import FINAL, Event, State, advance

from .family import finish
from .store import Job, Store


def cancel(store: Store, ids: Sequence[JobId]) -> list[CancelAnswer]:
    """Cancel each job as its state allows. Cost: O(log n) per job and child."""
    now = store.clock.wall_ms()
    return [_cancel_one(store, store.jobs.get(job_id), now) for job_id in ids]


def _cancel_one(store: Store, job: Job | None, now: int) -> CancelAnswer:
    if job is None:
        return CancelAnswer.NOT_FOUND
    if job.state in FINAL:  # Guard: final jobs stay as they are
        return CancelAnswer.TOO_LATE
    if job.state is State.RUNNING:  # Guard: a running job is only asked
        advance(State.RUNNING, Event.CANCEL, State.RUNNING)
        job.cancel_requested = True
        _nudge_worker(store, job)
        return CancelAnswer.REQUESTED
    finish(store, job, Event.CANCEL, State.CANCELLED, reason=Reason.BY_OPERATOR, now=now)
    return CancelAnswer.CANCELLED


def _nudge_worker(store: Store, job: Job) -> None:
    lease = store.leases[job.lease] if job.lease is not None else None
    if lease is not None and lease.opened.wake_token is not None:
        store.wakeups.nudge(lease.opened.wake_token)
