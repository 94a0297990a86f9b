"""The life of a job as one table. All transitions stand here and nowhere else.

Adapters name the transitions that they make in the header of each verb; the tests hold the union
of those headers against `TRANSITIONS`. The reference page of states is drawn from this table.
Source: the table-first form follows h11's `_state.py`; the states are Penstock's (ADR-0005).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from penstock.errors import InvalidTransition


class State(StrEnum):
    """Where a job is. The values are what brokers store and what users see."""

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Event(StrEnum):
    """What moves a job."""

    ENQUEUE = "enqueue"
    UNBLOCK = "unblock"
    PARENT_FAILED = "parent_failed"
    DUE = "due"
    CLAIM = "claim"
    EXPIRE = "expire"
    COMPLETE = "complete"
    RETRY = "retry"
    BURY = "bury"
    SNOOZE = "snooze"
    RELEASE = "release"
    RECLAIM = "reclaim"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    PRUNE = "prune"


FINAL: Final = frozenset({State.COMPLETED, State.DEAD, State.CANCELLED, State.EXPIRED})
"""States that a job leaves only by an operator's requeue or by retention."""

WAITING: Final = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RETRYING})
"""States in which a job waits and can expire."""

#: (from, event) -> states it may lead to. None stands for "no record": before enqueue, after prune.
TRANSITIONS: Final[dict[tuple[State | None, Event], frozenset[State | None]]] = {
    (None, Event.ENQUEUE): frozenset(
        {State.QUEUED, State.SCHEDULED, State.BLOCKED, State.CANCELLED}
    ),
    (State.BLOCKED, Event.UNBLOCK): frozenset({State.QUEUED, State.SCHEDULED}),
    (State.BLOCKED, Event.PARENT_FAILED): frozenset({State.CANCELLED}),
    (State.SCHEDULED, Event.DUE): frozenset({State.QUEUED}),
    (State.RETRYING, Event.DUE): frozenset({State.QUEUED}),
    (State.QUEUED, Event.CLAIM): frozenset({State.RUNNING}),
    **{(state, Event.EXPIRE): frozenset({State.EXPIRED}) for state in sorted(WAITING)},
    (State.RUNNING, Event.COMPLETE): frozenset({State.COMPLETED}),
    (State.RUNNING, Event.RETRY): frozenset({State.RETRYING}),
    (State.RUNNING, Event.BURY): frozenset({State.DEAD}),
    (State.RUNNING, Event.SNOOZE): frozenset({State.SCHEDULED}),
    (State.RUNNING, Event.RELEASE): frozenset({State.QUEUED}),
    (State.RUNNING, Event.RECLAIM): frozenset({State.RUNNING}),
    **{(state, Event.CANCEL): frozenset({State.CANCELLED}) for state in sorted(WAITING)},
    (State.RUNNING, Event.CANCEL): frozenset({State.CANCELLED, State.RUNNING}),
    **{(state, Event.REQUEUE): frozenset({State.QUEUED}) for state in sorted(FINAL)},
    **{(state, Event.PRUNE): frozenset({None}) for state in sorted(FINAL)},
}
"""The whole lifecycle. Notes that a table cannot hold:

- enqueue leads to `cancelled` only where a parent had already failed and the edge says cancel;
- retry, snooze or release of a job whose cancel was requested is applied as cancel by the broker;
- a running job whose cancel is requested stays running until its attempt ends;
- requeue of a job cancelled by `parent_failed` whose parents are not complete leads to `blocked`.
"""
# The last note as data, kept apart so that the comprehension above stays one rule.
TRANSITIONS[(State.CANCELLED, Event.REQUEUE)] = frozenset({State.QUEUED, State.BLOCKED})


def advance(state: State | None, event: Event, to: State | None) -> State | None:
    """Return `to` if the table allows it.

    Raises:
        InvalidTransition: the table has no such row; nothing was changed.
    """
    allowed = TRANSITIONS.get((state, event))
    if allowed is None or to not in allowed:
        ways = "none" if allowed is None else ", ".join(sorted(str(s) for s in allowed))
        message = f"{state} --{event}--> {to} is not in the lifecycle table; allowed: {ways}"
        raise InvalidTransition(message)
    return to
