"""`penstock purge`: forget final jobs of one queue."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli.bulk import over_all
from penstock.cli.command import Answer
from penstock.cli.commands.queues import check_queue
from penstock.cli.exits import Declined
from penstock.cli.session import Session
from penstock.core.lifecycle import FINAL, State
from penstock.core.wording import counted
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker

#: States that can be purged, in the order of the reference.
_FINAL: Final = tuple(state.value for state in State if state in FINAL)
_METAVAR: Final = "|".join(_FINAL)


def purge(
    session: Session,
    *,
    queue: Annotated[str, typer.Option(metavar="QUEUE", help="Only jobs of this queue.")],
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_METAVAR, help="Only jobs in this final state; may be repeated.  [required]"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> Answer:
    """Forget final jobs of a queue, for ever.

    Their results and errors go with them. Asks for the name of the queue unless --yes is given.
    Waiting and running jobs are never purged: cancel them first. JSON: {"queue": NAME, "purged":
    COUNT}.
    """
    from penstock.broker.requests import JobFilter

    states = _final(state or [])
    out = session.output
    with session.broker() as broker:
        check_queue(broker, queue)
        if not yes:
            _confirm(broker, queue, states)
        count = over_all(
            broker,
            JobFilter(queue=queue, states=states),
            broker.delete,
            lambda done: out.progress(f"{done} purged"),
        )
    if out.as_json:
        out.document({"queue": queue, "purged": count})
    else:
        out.line(f"{counted(count, 'job')} of queue {queue} purged")
    return None


def _final(names: list[str]) -> tuple[State, ...]:
    """Return the states, each once. Raises BadSetting when there is none, or one is not final."""
    final = ", ".join(_FINAL)
    if not names:
        raise BadSetting(f"--state is missing: say which jobs are forgotten, of {final}")
    wrong = next((name for name in names if name not in _FINAL), None)
    if wrong is not None:
        raise BadSetting(
            f"state {wrong!r} is not final: purge forgets only {final} jobs; cancel waiting ones "
            "first"
        )
    return tuple(dict.fromkeys(State(name) for name in names))


def _confirm(broker: Broker, queue: str, states: tuple[State, ...]) -> None:
    """Ask for the name of the queue. Raises Declined when something else is answered."""
    if not sys.stdin.isatty():
        raise Declined(
            "purge asks before it forgets jobs, and nobody is there to answer: add --yes"
        )
    [counts] = [c for c in broker.counts() if c.queue == queue]
    facts = ", ".join(counted(getattr(counts, state), f"{state} job") for state in states)
    sys.stderr.write(
        f"This forgets {facts} of queue {queue}, with their results, for ever.\n"
        "Type the name of the queue to go on: "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip() != queue:
        raise Declined(f"that is not {queue!r}: nothing was purged; run it again to be asked again")
