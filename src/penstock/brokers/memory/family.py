"""Parents and children: what the end of one job does to those that wait for it."""

from __future__ import annotations

from penstock.core.job import Parent, Reason
from penstock.core.lifecycle import FINAL, Event, State

from .store import Job, Store


def is_satisfied(store: Store, edge: Parent) -> bool:
    """Return whether `edge` holds its child back no longer.

    Cases: the parent is forgotten; it completed; it is final otherwise and the edge ignores that.
    """
    parent = store.jobs.get(edge.id)
    if parent is None or parent.state is State.COMPLETED:
        return True
    return parent.state in FINAL and edge.ignore_failure


def is_broken(store: Store, edge: Parent) -> bool:
    """Return whether the parent of `edge` failed and the edge says cancel."""
    parent = store.jobs.get(edge.id)
    return (
        parent is not None
        and parent.state in FINAL
        and parent.state is not State.COMPLETED
        and not edge.ignore_failure
    )


def finish(
    store: Store, job: Job, event: Event, to: State, *, reason: Reason | None, now: int
) -> None:
    """Make `job` final and tell its children, and theirs where that ends them.

    Cost: one visit per edge below the job, as far as the failure reaches.
    """
    failed = _end(store, job, event, to, reason=reason, now=now)
    cancel_by_parent(store, failed, now)


def cancel_by_parent(store: Store, children: list[Job], now: int) -> None:
    """Cancel blocked jobs because a parent failed; their own children follow."""
    todo = list(children)
    while todo:
        child = todo.pop()
        if child.state is not State.BLOCKED:  # Guard: only blocked children
            continue
        todo += _end(
            store,
            child,
            Event.PARENT_FAILED,
            State.CANCELLED,
            reason=Reason.PARENT_FAILED,
            now=now,
        )


def _end(
    store: Store, job: Job, event: Event, to: State, *, reason: Reason | None, now: int
) -> list[Job]:
    """Make one job final, count its children down, and return those that it cancels."""
    job.finished_at = now
    job.reason = reason
    job.cancel_requested = False
    store.move(job, event, to)
    cancelled: list[Job] = []
    for child_id, ignores in store.children.get(job.id, {}).items():
        child = store.jobs[child_id]
        if to is not State.COMPLETED and not ignores:
            cancelled.append(child)
        elif child.state is State.BLOCKED:  # Guard: only blocked children
            _count_down(store, child, now)
    return cancelled


def forget(store: Store, job: Job, now: int) -> None:
    """Forget a final job. A child that still waits for its requeue is cancelled for good."""
    waiting = [store.jobs[child_id] for child_id in store.children.get(job.id, {})]
    broken = [child for child in waiting if any(is_broken(store, edge) for edge in child.parents)]
    cancel_by_parent(store, broken, now)
    store.forget(job)


def _count_down(store: Store, child: Job, now: int) -> None:
    child.parents_left -= 1
    if child.parents_left > 0:  # Guard: last parent
        return
    if child.due_at is not None and child.due_at > now:  # Guard: not before it is due
        store.move(child, Event.UNBLOCK, State.SCHEDULED)
        return
    child.arrived_at = now
    store.move(child, Event.UNBLOCK, State.QUEUED)
