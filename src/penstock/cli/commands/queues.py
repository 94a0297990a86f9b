"""`penstock queues`: counts and latency of each queue; pause and resume one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.exits import NotFound
from penstock.cli.findings import dead_workers
from penstock.cli.output import Column
from penstock.cli.session import Session
from penstock.cli.shapes import QueueRow
from penstock.cli.times import span
from penstock.cli.unheld import unheld
from penstock.core.lifecycle import State

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker

#: States whose column stands there even when no job is in them.
_ALWAYS = (State.QUEUED, State.RUNNING, State.COMPLETED, State.DEAD)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the queue.")]


def queues(session: Session) -> Answer:
    """List the queues.

    Jobs by state, paused or not, and how long the oldest queued job has waited. The columns queued,
    running, completed and dead are always there, the others where a queue has a job in that state.
    Jobs that no live worker of their queue could run are told below the table.

    JSON, with every state named: {"queues": [{"queue", "paused", "states": {STATE: COUNT},
    "oldest_queued_ms", "unheld": [TEXT]}]}.
    """
    with session.broker() as broker:
        rows = _rows(broker)
    out = session.output
    if out.as_json:
        out.document({"queues": rows})
    elif rows:
        states = [s for s in State if s in _ALWAYS or any(row.states[s] for row in rows)]
        columns = [Column("queue", whole=True), *(Column(s, right=True) for s in states)]
        columns += [Column("oldest", right=True, spare=1), Column("")]
        out.table(columns, [_cells(row, states) for row in rows])
        for row in rows:
            for text in row.unheld:
                out.note(f"queue {row.queue}: {text}")
    else:
        out.note("no queue yet: a queue exists from its first job or worker on")
    return None


def pause(session: Session, name: Name) -> Answer:
    """Pause a queue.

    Workers take no further job of it; running jobs go on. `queues resume` undoes it.

    JSON: {"queue": NAME, "paused": true}.
    """
    with session.broker() as broker:
        check_queue(broker, name)
        broker.pause(name)
    _say(session, name, paused=True)
    return None


def resume(session: Session, name: Name) -> Answer:
    """Let a paused queue go on.

    JSON: {"queue": NAME, "paused": false}.
    """
    with session.broker() as broker:
        check_queue(broker, name)
        broker.resume(name)
    _say(session, name, paused=False)
    return None


def check_queue(broker: Broker, name: str) -> None:
    """Refuse a queue that the broker does not know: most likely a slip of the pen.

    Raises:
        NotFound: no job was ever enqueued to it, and no worker serves it.
    """
    known = [counts.queue for counts in broker.counts()]
    if name not in known:
        there = ", ".join(known) or "none yet"
        raise NotFound(f"queue {name!r} is unknown: use one of the queues of this broker: {there}")


def _rows(broker: Broker) -> list[QueueRow]:
    counts, leases = broker.counts(), broker.leases()
    needs = broker.needs([one.queue for one in counts])
    told = unheld(needs, leases, dead_workers(leases))
    return [
        QueueRow.of(one, tuple(each.text for each in told if each.queue == one.queue))
        for one in counts
    ]


def _say(session: Session, name: str, *, paused: bool) -> None:
    if session.output.as_json:
        session.output.document({"queue": name, "paused": paused})
    else:
        session.output.line(f"queue {name} {'is paused' if paused else 'goes on'}")


def _cells(row: QueueRow, states: list[State]) -> list[str]:
    oldest = "-" if row.oldest_queued_ms is None else span(row.oldest_queued_ms)
    counts = [str(row.states[state]) for state in states]
    return [row.queue, *counts, oldest, "paused" if row.paused else ""]
