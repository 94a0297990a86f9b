"""`penstock requeue`: give final jobs a new budget of attempts."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.bulk import over_all
from penstock.cli.command import Answer
from penstock.cli.exits import Exit
from penstock.cli.session import Session
from penstock.core.ids import check_job_id
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.core.wording import counted
from penstock.errors import BadSetting

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID...]", help="Whole ids of final jobs, 500 at most."),
]


def requeue(
    session: Session,
    job_ids: Ids = None,
    *,
    dead: Annotated[
        bool, typer.Option("--dead", help="All dead jobs that match, instead of ids.")
    ] = False,
    queue: Annotated[
        str | None, typer.Option(metavar="QUEUE", help="With --dead: only of this queue.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="With --dead: only of this task.")
    ] = None,
    reason: Annotated[
        Reason | None,
        typer.Option(metavar="REASON", help="With --dead: only those buried for this reason."),
    ] = None,
) -> Answer:
    """Run final jobs again.

    Same id, a new budget of attempts; children cancelled because of them wait again.

    JSON with ids: {"jobs": [{"id", "answer"}]}; answer is done, wrong_state or not_found. With
    --dead: {"requeued": COUNT}. Exits with 3 when a job is unknown, else with 4 when one is not
    final.
    """
    if bool(job_ids) == dead:
        raise BadSetting("requeue needs either ids or --dead: give one of them")
    if not dead and (queue or task or reason):
        raise BadSetting(
            "--queue, --task and --reason choose among --dead: add --dead, or give ids"
        )
    if dead:
        return _requeue_dead(session, queue, task, reason)
    return _requeue_ids(session, job_ids or [])


def _requeue_ids(session: Session, job_ids: list[str]) -> Answer:
    from penstock.broker.requests import OperatorAnswer

    ids = [check_job_id(job_id) for job_id in job_ids]
    with session.broker() as broker:
        answers = broker.requeue(ids)
    pairs = list(zip(ids, answers, strict=True))
    if session.output.as_json:
        session.output.document({"jobs": [{"id": i, "answer": a} for i, a in pairs]})
    else:
        for job_id, answer in pairs:
            session.output.line(f"{job_id}  {_WORDS[answer]}")
    if OperatorAnswer.NOT_FOUND in answers:
        return Exit.NOT_FOUND
    return Exit.REFUSED if OperatorAnswer.WRONG_STATE in answers else Exit.OK


def _requeue_dead(
    session: Session, queue: str | None, task: str | None, reason: Reason | None
) -> Answer:
    from penstock.broker.requests import JobFilter

    where = JobFilter(queue=queue, states=(State.DEAD,), task=task, reason=reason)
    with session.broker() as broker:
        count = over_all(
            broker, where, broker.requeue, lambda done: session.output.progress(f"{done} requeued")
        )
    if session.output.as_json:
        session.output.document({"requeued": count})
    else:
        session.output.line(
            f"{counted(count, 'dead job')} requeued" if count else "no dead job matches"
        )
    return None


_WORDS = {
    "done": "queued again",
    "wrong_state": "refused: it is not final; cancel it first, or wait for its end",
    "not_found": "not found: never enqueued here, deleted, or its retention is over",
}
