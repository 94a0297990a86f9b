"""delete: forget final jobs now.

transitions:
    completed --prune--> (none)
    dead --prune--> (none)
    cancelled --prune--> (none)
    expired --prune--> (none)
    blocked --parent_failed--> cancelled
    blocked --unblock--> queued
    blocked --unblock--> scheduled
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.broker.requests import OperatorAnswer
from penstock.core.ids import JobId
from penstock.core.lifecycle import FINAL

from .family import forget
from .store import Job, Store


def delete(store: Store, ids: Sequence[JobId]) -> list[OperatorAnswer]:
    """Forget each job that is final. Cost: O(log n) per job and one step per edge."""
    now = store.clock.wall_ms()
    return [_delete_one(store, job_id, now) for job_id in ids]


def _delete_one(store: Store, job_id: JobId, now: int) -> OperatorAnswer:
    job = store.jobs.get(job_id)
    if job is None:
        return OperatorAnswer.NOT_FOUND
    if job.state not in FINAL:  # Guard: only final jobs
        return OperatorAnswer.WRONG_STATE
    forget_keeping_key(store, job, now)
    return OperatorAnswer.DONE


def forget_keeping_key(store: Store, job: Job, now: int) -> None:
    """Forget a final job; its key stays taken until its window ends, and says how it ended."""
    held = None if job.key is None else store.keys.get((job.task, job.key))
    if job.key is not None and held is not None and held.job_id == job.id and job.state:
        store.keys[job.task, job.key] = msgspec.structs.replace(held, last_state=job.state)
    forget(store, job, now)
