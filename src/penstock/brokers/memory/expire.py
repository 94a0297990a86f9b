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

from penstock.core.job import Reason
from penstock.core.lifecycle import Event, State

from .family import finish
from .store import Store


def expire(store: Store, queues: Sequence[str], limit: int) -> int:
    """Expire up to `limit` jobs, earliest deadline first. Cost: O(log n) per job and child."""
    now = store.clock.wall_ms()
    expired = 0
    while expired < limit:
        heads = [store.deadlines[queue][0] for queue in queues if store.deadlines[queue]]
        if not heads:
            break
        expires_at, job_id = min(heads)
        if expires_at > now:  # Guard: past its deadline
            break
        job = store.jobs[job_id]
        finish(store, job, Event.EXPIRE, State.EXPIRED, reason=Reason.DEADLINE, now=now)
        expired += 1
    return expired
