"""requeue: give final jobs a new budget of attempts.

transitions:
    dead --requeue--> queued
    cancelled --requeue--> queued
    expired --requeue--> queued
    completed --requeue--> queued
    cancelled --requeue--> blocked
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import OperatorAnswer
from penstock.core.ids import JobId
from penstock.core.job import NO_CHARGES, Reason
from penstock.core.lifecycle import FINAL, Event, State

from .family import is_broken, is_satisfied
from .store import Job, Store


def requeue(store: Store, ids: Sequence[JobId]) -> list[OperatorAnswer]:
    """Requeue each job that is final. Cost: O(log n) per job, one visit per edge below it."""
    now = store.clock.wall_ms()
    return [_requeue_one(store, job_id, now) for job_id in ids]


def _requeue_one(store: Store, job_id: JobId, now: int) -> OperatorAnswer:
    job = store.jobs.get(job_id)
    if job is None:
        return OperatorAnswer.NOT_FOUND
    if job.state not in FINAL:  # Guard: only final jobs
        return OperatorAnswer.WRONG_STATE
    held_back = sum(not is_satisfied(store, edge) for edge in job.parents)
    if held_back and job.reason is Reason.PARENT_FAILED:  # Guard: parents first
        job.parents_left = held_back
        _revive(store, job, now, to=State.BLOCKED)
    else:
        job.due_at = None
        _revive(store, job, now, to=State.QUEUED)
    return OperatorAnswer.DONE


def _revive(store: Store, first: Job, now: int, *, to: State) -> None:
    """Move a final job to `to`, and the children that it took down back to blocked."""
    todo = [(first, to)]
    while todo:
        job, to = todo.pop()
        was_completed = job.state is State.COMPLETED
        _reset(job, now)
        store.move(job, Event.REQUEUE, to)
        job.finished_at = None
        for child_id, ignores in store.children.get(job.id, {}).items():
            child = store.jobs[child_id]
            if was_completed or ignores:
                if child.state is State.BLOCKED:  # Guard: only blocked children
                    # The edge was counted down; now it holds the child back again.
                    child.parents_left += 1
            elif _was_taken_down(store, child):
                child.parents_left = sum(not is_satisfied(store, e) for e in child.parents)
                todo.append((child, State.BLOCKED))


def _was_taken_down(store: Store, child: Job) -> bool:
    """Return whether `child` was cancelled by a parent, and no parent stands failed any more."""
    return (
        child.state is State.CANCELLED
        and child.reason is Reason.PARENT_FAILED
        and not any(is_broken(store, edge) for edge in child.parents)
    )


def _reset(job: Job, now: int) -> None:
    """Give a new budget and a new deadline; claim number, attempts, log and checkpoint stay."""
    job.charges = NO_CHARGES
    job.need = job.spec_need
    job.reason = None
    job.arrived_at = now
    job.expires_at = None if job.expires_ms is None else now + job.expires_ms
    job.result, job.result_dropped = None, False
