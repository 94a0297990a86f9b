"""The app that chaos workers run: all tasks of the suite; its settings are the environment's.

Its sink writes what the broker answered a runner. Supervisors tell no sink, so the settlements of
children are not in the history.
"""

from __future__ import annotations

import os

from penstock import App
from penstock.telemetry.events import AttemptFinished, Event, LeaseLost
from tests.chaos import clock_tasks, hog_tasks, tasks
from tests.support import history as h
from tests.support.attempt_log import history_of

#: Settlements after which a job is final.
FINAL = frozenset({"complete", "bury", "cancel"})


def write_reply(event: Event) -> None:
    """Write an answer to a settlement into the history."""
    reply = reply_of(event)
    if reply is not None:
        history_of(os.getpid()).append(reply)


def reply_of(event: Event) -> h.FinishReplied | None:
    """Return what an event says of a settlement, None where it says nothing."""
    match event:
        case AttemptFinished():
            return h.FinishReplied(
                job=event.id,
                attempt=event.attempt,
                reply="ok",
                final=event.settlement in FINAL,
                told_late=True,
                outcome=event.outcome,
            )
        case LeaseLost():
            return h.FinishReplied(
                job=event.id, attempt=event.attempt, reply="lease_lost", told_late=True
            )
    return None


app = App()
app.include(tasks)
app.include(clock_tasks)
app.include(hog_tasks)
app.add_event_sink(write_reply)
