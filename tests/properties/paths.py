"""Which changes of state one verb may make: paths through the lifecycle table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from penstock.core.lifecycle import TRANSITIONS, Event, State

_FAMILY: Final = {Event.UNBLOCK, Event.PARENT_FAILED}
_OUTCOMES: Final = {
    Event.COMPLETE,
    Event.RETRY,
    Event.BURY,
    Event.SNOOZE,
    Event.RELEASE,
    Event.CANCEL,
}

EVENTS: Final[dict[str, Collection[Event]]] = {
    "enqueue": {Event.ENQUEUE},
    "claim": {Event.CLAIM, Event.DUE},
    "settle": _OUTCOMES | _FAMILY,
    "cycle": _OUTCOMES | _FAMILY | {Event.CLAIM, Event.DUE},
    "promote": {Event.DUE},
    "expire": {Event.EXPIRE} | _FAMILY,
    "reclaim": {Event.RECLAIM},
    "prune": {Event.PRUNE} | _FAMILY,
    "delete": {Event.PRUNE} | _FAMILY,
    "cancel": {Event.CANCEL} | _FAMILY,
    "requeue": {Event.REQUEUE},
}
"""Verb -> events that it may make. Verbs that are not here move no job."""


def can_lead(verb: str, start: State | None, to: State | None) -> bool:
    """Return whether one call of `verb` may bring a job from `start` to `to`."""
    events = EVENTS.get(verb, ())
    reached = {start}
    while True:
        further = {
            end
            for state in reached
            for event in events
            for end in TRANSITIONS.get((state, event), ())
        }
        if further <= reached:
            return to in reached
        reached |= further
