"""prune: forget final jobs past their retention, results past their ttl, and spent keys.

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
from itertools import islice

from penstock.broker.requests import Retention

from .delete import forget_keeping_key
from .store import Job, Store


def prune(store: Store, queues: Sequence[str], rules: Sequence[Retention], limit: int) -> int:
    """Drop up to `limit` jobs and results. Cost: O(log n) per job dropped."""
    now = store.clock.wall_ms()
    dropped = 0
    for queue in queues:
        for rule in rules:
            dropped += _prune_jobs(store, queue, rule, limit - dropped, now)
        dropped += _prune_results(store, queue, limit - dropped, now)
    _prune_keys(store, limit, now)
    _prune_leases(store, limit)
    return dropped


def _prune_jobs(store: Store, queue: str, rule: Retention, limit: int, now: int) -> int:
    finished = store.finished[queue, rule.state]
    spare = len(finished) - rule.count_max
    old: list[Job] = []
    for finished_at, job_id in islice(finished, limit):
        too_old = now - finished_at >= rule.age_ms  # Guard: age
        too_many = len(old) < spare  # Guard: count
        if not (too_old or too_many):
            break
        old.append(store.jobs[job_id])
    for job in old:
        forget_keeping_key(store, job, now)
    return len(old)


def _prune_results(store: Store, queue: str, limit: int, now: int) -> int:
    results = store.results[queue]
    dropped = 0
    while results and dropped < limit:
        drop_at, job_id = results[0]
        if drop_at > now:  # Guard: result ttl
            break
        job = store.jobs[job_id]
        store.unindex_result(job)
        job.result, job.result_dropped = None, True
        dropped += 1
    return dropped


def _prune_keys(store: Store, limit: int, now: int) -> None:
    spent = [key for key, held in store.keys.items() if now >= held.until]  # Guard: key window
    for key in spent[:limit]:
        del store.keys[key]


def _prune_leases(store: Store, limit: int) -> None:
    done = [
        lease.opened.id
        for lease in store.leases.values()
        if lease.closed and not lease.jobs  # Guard: nothing runs under it
    ]
    for lease_id in done[:limit]:
        del store.leases[lease_id]
