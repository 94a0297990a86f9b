"""settle: apply what workers decided about running jobs.

transitions:
    running --complete--> completed
    running --retry--> retrying
    running --bury--> dead
    running --snooze--> scheduled
    running --release--> queued
    running --cancel--> cancelled
    blocked --unblock--> queued
    blocked --unblock--> scheduled
    blocked --parent_failed--> cancelled
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core import settlement as s
from penstock.core.job import Reason
from penstock.core.lifecycle import Event, State

from .family import finish
from .store import Job, Store


def settle(
    store: Store, settlements: Sequence[s.Settlement], result_bytes_max: int
) -> list[s.Applied]:
    """Apply each settlement whose fence still holds. Cost: O(log n) per job and child."""
    now = store.clock.wall_ms()
    return [_settle_one(store, item, result_bytes_max, now) for item in settlements]


def _settle_one(store: Store, item: s.Settlement, result_bytes_max: int, now: int) -> s.Applied:
    job = store.jobs.get(item.id)
    # Fence: a job that does not run has none, so a late settlement finds nothing to match.
    if job is None or job.fence != item.fence:  # Guard: fence
        return s.Applied.STALE
    _end_attempt(job, item, now)
    if not isinstance(item, s.Complete):
        job.charges = item.charges
    if job.cancel_requested and isinstance(item, _GOES_ON):  # Guard: a requested cancel wins
        finish(store, job, Event.CANCEL, State.CANCELLED, reason=Reason.BY_OPERATOR, now=now)
        return s.Applied.CANCELLED
    if isinstance(item, s.Complete):
        return _complete(store, job, item, result_bytes_max, now)
    if isinstance(item, s.Bury):
        finish(store, job, Event.BURY, State.DEAD, reason=item.reason, now=now)
    elif isinstance(item, s.Cancel):
        finish(store, job, Event.CANCEL, State.CANCELLED, reason=item.reason, now=now)
    else:
        _go_on(store, job, item, now)
    return s.Applied.APPLIED


_GOES_ON = (s.Retry, s.Snooze, s.Release)


def _go_on(store: Store, job: Job, item: s.Retry | s.Snooze | s.Release, now: int) -> None:
    job.need = job.spec_need if item.need is None else item.need
    if isinstance(item, s.Release):
        # It keeps `arrived_at`, and with it the place that it had.
        store.move(job, Event.RELEASE, State.QUEUED)
        return
    job.due_at = now + item.delay_ms
    if isinstance(item, s.Retry):
        store.move(job, Event.RETRY, State.RETRYING)
    else:
        store.move(job, Event.SNOOZE, State.SCHEDULED)


def _complete(
    store: Store, job: Job, item: s.Complete, result_bytes_max: int, now: int
) -> s.Applied:
    fits = item.result is None or len(item.result) <= result_bytes_max  # Guard: result fits
    job.result = item.result if fits else None
    job.result_dropped = not fits
    if job.result is not None and job.result_ttl_ms is not None:
        job.result_drop_at = now + job.result_ttl_ms
    finish(store, job, Event.COMPLETE, State.COMPLETED, reason=None, now=now)
    return s.Applied.APPLIED if fits else s.Applied.RESULT_DROPPED


def _end_attempt(job: Job, item: s.Settlement, now: int) -> None:
    running = job.attempts[-1]
    job.attempts[-1] = msgspec.structs.replace(
        running,
        pid=running.pid if item.pid is None else item.pid,
        ended_at=now,
        outcome=item.outcome,
        error=item.error,
        usage=item.usage,
    )
