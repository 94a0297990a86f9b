"""`penstock purge`: forget final jobs of one queue."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.bulk import over_all
from penstock.cli.command import Answer
from penstock.cli.commands.queues import check_queue
from penstock.cli.exits import Declined
from penstock.cli.session import Session
from penstock.core.lifecycle import FINAL, State
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker


def purge(
    session: Session,
    *,
    queue: Annotated[str, typer.Option(metavar="QUEUE", help="Only jobs of this queue.")],
    state: Annotated[
        list[State],
        typer.Option(help="Only jobs in this final state; may be repeated."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> Answer:
    """Forget final jobs of a queue, for ever.

    Their results and errors go with them. Asks for the name of the queue unless --yes is given.
    Waiting and running jobs are never purged: cancel them first. JSON: {"queue": NAME, "purged":
    COUNT}.
    """
    from penstock.broker.requests import JobFilter

    not_final = [s for s in state if s not in FINAL]
    if not_final:
        final = ", ".join(s for s in State if s in FINAL)
        raise BadSetting(
            f"state {not_final[0].value!r} is not final: purge forgets only {final} jobs; cancel "
            "waiting ones first"
        )
    out = session.output
    with session.broker() as broker:
        check_queue(broker, queue)
        if not yes:
            _confirm(broker, queue, state)
        count = over_all(
            broker,
            JobFilter(queue=queue, states=tuple(state)),
            broker.delete,
            lambda done: out.progress(f"{done} purged"),
        )
    if out.as_json:
        out.document({"queue": queue, "purged": count})
    else:
        out.line(f"{count} jobs of queue {queue} purged")
    return None


def _confirm(broker: Broker, queue: str, states: list[State]) -> None:
    """Ask for the name of the queue. Raises Declined when something else is answered."""
    if not sys.stdin.isatty():
        raise Declined(
            "purge asks before it forgets jobs, and nobody is there to answer: add --yes"
        )
    [counts] = [c for c in broker.counts() if c.queue == queue]
    facts = ", ".join(f"{getattr(counts, state)} {state}" for state in dict.fromkeys(states))
    sys.stderr.write(
        f"This forgets {facts} jobs of queue {queue}, with their results, for ever.\n"
        "Type the name of the queue to go on: "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip() != queue:
        raise Declined(f"that is not {queue!r}: nothing was purged; run it again to be asked again")
