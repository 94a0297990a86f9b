"""`penstock jobs`: the jobs of a broker, newest first."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.output import Column
from penstock.cli.session import Session
from penstock.cli.shapes import JobRow
from penstock.cli.times import span
from penstock.core.job import Reason
from penstock.core.lifecycle import State

#: Help of --state.
STATES_HELP = f"Only jobs in this state; may be repeated: {', '.join(State)}."

#: Columns of lists of jobs; ids are never cut, since they are copied.
COLUMNS = (
    Column("id", whole=True),
    Column("state", whole=True),
    Column("task"),
    Column("queue", spare=2),
    Column("claims", right=True, spare=3),
    Column("age", right=True, spare=4),
    Column("reason or error", spare=1),
)


def jobs(
    session: Session,
    *,
    state: Annotated[list[State] | None, typer.Option(metavar="STATE", help=STATES_HELP)] = None,
    queue: Annotated[
        str | None, typer.Option(metavar="QUEUE", help="Only jobs of this queue.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Only jobs of this task.")
    ] = None,
    reason: Annotated[
        Reason | None, typer.Option(metavar="REASON", help="Only jobs that ended for this reason.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=500, help="At most this many.")
    ] = 20,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs older than this one: the next page.")
    ] = None,
) -> Answer:
    """List jobs, newest first.

    JSON: {"jobs": [...], "next_before": ID or null}. Pass next_before as --before for the next
    page.
    """
    from penstock.broker.requests import JobFilter
    from penstock.core.ids import check_job_id

    where = JobFilter(queue=queue, states=tuple(state) if state else None, task=task, reason=reason)
    with session.broker() as broker:
        page = broker.list_jobs(
            where, limit=limit, before=None if before is None else check_job_id(before)
        )
    rows = [JobRow.of(record) for record in page.jobs]
    out = session.output
    if out.as_json:
        out.document({"jobs": rows, "next_before": page.next_before})
        return None
    if rows:
        now_ms = session.now_ms()
        out.table(COLUMNS, [cells(row, now_ms) for row in rows])
    else:
        out.note("no job matches")
    if page.next_before is not None:
        out.note(f"there may be more: add --before {page.next_before}")
    return None


def cells(row: JobRow, now_ms: int) -> list[str]:
    """Return a job as cells of `COLUMNS`."""
    # What became of earlier attempts of a job that has completed alarms nobody.
    error = None if row.state is State.COMPLETED else row.error
    why = ": ".join(part for part in (row.reason, error) if part)
    age = span(max(0, now_ms - row.enqueued_at))
    return [row.id, row.state, row.task, row.queue, str(row.claims), age, why]
