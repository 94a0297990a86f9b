"""promote: make due jobs claimable.

transitions:
    scheduled --due--> queued
    retrying --due--> queued
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from penstock.core.ids import JobId
from penstock.core.lifecycle import Event, State

from .store import Store


def promote(store: Store, queues: Sequence[str], limit: int) -> int:
    """Promote up to `limit` jobs, earliest due time first. Cost: O(log n) per job."""
    now = store.clock.wall_ms()
    due = sorted(entry for queue in set(queues) for entry in _due(store, queue, now, limit))
    for due_at, job_id in due[:limit]:
        job = store.jobs[job_id]
        job.arrived_at = due_at
        store.move(job, Event.DUE, State.QUEUED)
    return min(len(due), limit)


def _due(store: Store, queue: str, now: int, limit: int) -> list[tuple[int, JobId]]:
    return [
        (due_at, job_id)
        for due_at, job_id in islice(store.due[queue], limit)
        if due_at <= now  # Guard: only due jobs
    ]
