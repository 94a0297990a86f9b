"""`penstock cancel ID...`."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.exits import Exit
from penstock.cli.session import Session
from penstock.core.ids import check_job_id

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Whole ids of jobs, 500 at most.")]


def cancel(session: Session, job_ids: Ids) -> Answer:
    """Cancel jobs.

    One that waits never starts; one that runs is told, and its outcome decides.

    JSON: {"jobs": [{"id", "answer"}]}; answer is cancelled, requested, too_late or not_found. Exits
    with 3 when a job is unknown, else with 4 when one was final already.
    """
    from penstock.broker.requests import CancelAnswer

    ids = [check_job_id(job_id) for job_id in job_ids]
    with session.broker() as broker:
        answers = broker.cancel(ids)
    out = session.output
    pairs = list(zip(ids, answers, strict=True))
    if out.as_json:
        out.document({"jobs": [{"id": i, "answer": a} for i, a in pairs]})
    else:
        for job_id, answer in pairs:
            out.line(f"{job_id}  {_WORDS[answer]}")
    if CancelAnswer.NOT_FOUND in answers:
        return Exit.NOT_FOUND
    return Exit.REFUSED if CancelAnswer.TOO_LATE in answers else Exit.OK


_WORDS = {
    "cancelled": "cancelled: it waited and never starts",
    "requested": "requested: it runs and is told to stop; the outcome decides",
    "too_late": "too late: it is final already",
    "not_found": "not found: never enqueued here, deleted, or its retention is over",
}
