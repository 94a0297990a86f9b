"""expire: end jobs that waited past their deadline.

transitions:
    blocked --expire--> expired
    scheduled --expire--> expired
    queued --expire--> expired
    retrying --expire--> expired
    blocked --unblock--> queued
    blocked --unblock--> scheduled
    blocked --parent_failed--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from penstock.core.ids import JobId
from penstock.core.job import Reason
from penstock.core.lifecycle import WAITING, Event, State

from .family import finish
from .store import Store


def expire(store: Store, queues: Sequence[str], limit: int) -> int:
    """Expire up to `limit` jobs, earliest deadline first. Cost: O(log n) per job and child."""
    now = store.clock.wall_ms()
    late = sorted(entry for queue in set(queues) for entry in _late(store, queue, now, limit))
    expired = 0
    for _, job_id in late[:limit]:
        job = store.jobs[job_id]
        if job.state in WAITING:  # Guard: not cancelled meanwhile by the end of its parent
            finish(store, job, Event.EXPIRE, State.EXPIRED, reason=Reason.DEADLINE, now=now)
            expired += 1
    return expired


def _late(store: Store, queue: str, now: int, limit: int) -> list[tuple[int, JobId]]:
    return [
        (expires_at, job_id)
        for expires_at, job_id in islice(store.deadlines[queue], limit)
        if expires_at <= now  # Guard: past its deadline
    ]
