"""The page of states: the lifecycle table, drawn."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.lifecycle import FINAL, TRANSITIONS, WAITING, Event, State

#: What each state means to whoever looks at a job; the table says how it gets there.
MEANING = {
    State.BLOCKED: "Waits for its parents (`after=`).",
    State.SCHEDULED: "Waits for its time (`delay=`, `run_at=`, or a snooze).",
    State.QUEUED: "Can be claimed by a worker that it fits.",
    State.RUNNING: "A worker holds its lease.",
    State.RETRYING: "Failed, and waits for its next attempt.",
    State.COMPLETED: "Succeeded; its result is kept for `result_ttl`.",
    State.DEAD: "Failed for good. The dead-letter queue is the list of these jobs.",
    State.CANCELLED: "Stopped on request, discarded by its task, or a parent failed.",
    State.EXPIRED: "Passed its deadline while it waited.",
}

#: What each event is, and who causes it.
CAUSE = {
    Event.ENQUEUE: "A client hands the job over.",
    Event.UNBLOCK: "The last parent completed.",
    Event.PARENT_FAILED: "A parent ended dead, cancelled or expired.",
    Event.DUE: "Its time has come, by the broker's clock.",
    Event.CLAIM: "A worker takes it: a fence is drawn, a lease opened.",
    Event.EXPIRE: "Its deadline passed while it waited.",
    Event.COMPLETE: "The task returned.",
    Event.RETRY: "The attempt failed and attempts are left.",
    Event.BURY: "The attempt failed and none is left, or the error says so.",
    Event.SNOOZE: "The task asked to run later; nothing is charged.",
    Event.RELEASE: "The worker gives it back; nothing is charged.",
    Event.RECLAIM: "Its lease ran out and another worker took it over, under a new fence.",
    Event.CANCEL: "Somebody asked for it; on a running job a request first.",
    Event.REQUEUE: "An operator puts it back, with a new budget of attempts.",
    Event.PRUNE: "Its retention is over, and its record goes.",
}

EXAMPLE = """\
<!-- run: lifecycle -->
```python
from penstock.core.lifecycle import TRANSITIONS, Event, State

for (state, event), ways in sorted(TRANSITIONS.items(), key=str):
    if state is State.RUNNING and event is Event.SNOOZE:
        print(*ways)
```

<!-- output: lifecycle -->
```text
scheduled
```
"""


def page() -> str:
    """Return the page."""
    return f"""\
# States

A job is in one of nine states. Every transition between them stands in one table,
`penstock.core.lifecycle.TRANSITIONS`; each broker is tested against it. The names are what brokers
store and what every command and page shows.

| state | kind | meaning |
|---|---|---|
{_lines(f"| `{state}` | {_kind(state)} | {MEANING[state]} |" for state in State)}

```mermaid
stateDiagram-v2
{_lines(_edges())}
```

Left out of the drawing, because they go everywhere: every waiting state can expire, every state
that is not final can be cancelled, and every final state is pruned after its retention.

## Transitions

| from | event | to | cause |
|---|---|---|---|
{_lines(_rows())}

The table is plain data and can be asked:

{EXAMPLE}"""


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _kind(state: State) -> str:
    if state in FINAL:
        return "final"
    return "waiting" if state in WAITING else "active"


def _rows() -> list[str]:
    rows = []
    for event in Event:
        for state in [None, *State]:
            if (state, event) in TRANSITIONS:
                ways = " or ".join(_state(way) for way in _ordered(TRANSITIONS[state, event]))
                rows.append(f"| {_state(state)} | {event} | {ways} | {CAUSE[event]} |")
    return rows


def _edges() -> list[str]:
    everywhere = {Event.EXPIRE, Event.CANCEL, Event.PRUNE}
    return [
        f"    {state or '[*]'} --> {way or '[*]'}: {event}"
        for event in Event
        for state in [None, *State]
        if event not in everywhere and (state, event) in TRANSITIONS
        for way in _ordered(TRANSITIONS[state, event])
    ]


def _ordered(ways: frozenset[State | None]) -> list[State | None]:
    return [way for way in [*State, None] if way in ways]


def _state(state: State | None) -> str:
    return "(none)" if state is None else f"`{state}`"
