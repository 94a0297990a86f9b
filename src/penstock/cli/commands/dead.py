"""`penstock dead`: the dead-letter queue, which is the list of dead jobs."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.commands.job import fields
from penstock.cli.exits import Declined
from penstock.cli.output import Column
from penstock.cli.session import Session
from penstock.cli.shapes import JobDocument, JobRow
from penstock.cli.sizes import size
from penstock.cli.times import span
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.core.wording import counted
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.core.job import JobRecord

_COLUMNS = (
    Column("id", whole=True),
    Column("task", spare=1),
    Column("queue", spare=2),
    Column("claims", right=True, spare=4),
    Column("died", right=True, spare=3),
    Column("error"),
)


def dead(
    session: Session,
    *,
    reason: Annotated[
        Reason | None,
        typer.Option(metavar="REASON", help="Only jobs that were buried for this reason."),
    ] = None,
    queue: Annotated[
        str | None, typer.Option(metavar="QUEUE", help="Only jobs of this queue.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Only jobs of this task.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=500, help="At most this many.")
    ] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs older than this one: the next page.")
    ] = None,
) -> Answer:
    """List the dead jobs by reason, newest first.

    JSON: {"dead": COUNT, "jobs": [...], "next_before": ID or null}; dead counts the dead jobs of
    all queues, or of --queue. `penstock requeue` runs them again, `penstock purge` forgets them.
    """
    from penstock.broker.requests import JobFilter
    from penstock.core.ids import check_job_id

    where = JobFilter(queue=queue, states=(State.DEAD,), task=task, reason=reason)
    with session.broker() as broker:
        page = broker.list_jobs(
            where, limit=limit, before=None if before is None else check_job_id(before)
        )
        total = sum(c.dead for c in broker.counts() if queue in {None, c.queue})
    rows = [JobRow.of(record) for record in page.jobs]
    out = session.output
    if out.as_json:
        out.document({"dead": total, "jobs": rows, "next_before": page.next_before})
        return None
    _print(session, rows)
    shown = (
        f"{len(rows)} of {counted(total, 'dead job')}"
        if rows
        else f"no job matches; {total} dead in all"
    )
    more = f"; more: add --before {page.next_before}" if page.next_before else ""
    out.note(f"{shown}{more}")
    return None


def show(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a dead job.")],
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what is needed to reproduce it to this file."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --bundle: replace the file that is there.")
    ] = False,
) -> Answer:
    """Show one dead job: its attempts and their errors with tracebacks.

    JSON: the document of `penstock job`. Exits with 4 when the job is not dead.

    --bundle writes it to a file that only its owner can read, with what else is known: versions of
    the worker, the harmless part of its environment, memory over time. Secret arguments are not in
    it. `penstock replay FILE` runs the job again. JSON then: {"bundle", "bytes", "secrets"}.
    """
    from penstock.client.flow import known
    from penstock.core.ids import check_job_id

    if force and bundle is None:
        raise BadSetting("--force without --bundle replaces nothing: add --bundle FILE")
    checked = check_job_id(job_id)
    with session.broker() as broker:
        record = known(broker.get(checked), checked)
    if record.state is not State.DEAD:
        raise Declined(f"job {checked} is {record.state}, not dead: see penstock job {checked}")
    if bundle is not None:
        _write(session, record, bundle, force=force)
    elif session.output.as_json:
        session.output.document(JobDocument.of(record))
    else:
        session.output.fields(fields(record))
    return None


def _write(session: Session, record: JobRecord, path: Path, *, force: bool) -> None:
    from penstock.cli import bundle
    from penstock.worker.installed import installed, runtime_of

    # Nothing of this process's environment: it is not the job's, and holds its caller's secrets.
    made = bundle.make(record, here=runtime_of({}), installed=installed(), made_at=session.now_ms())
    written = bundle.write(made, path.absolute(), force=force)
    if session.output.as_json:
        told = {"bundle": str(path.absolute()), "bytes": written, "secrets": made.secrets}
        session.output.document(told)
        return
    session.output.fields(
        [
            ("bundle", f"{path.absolute()}, {size(written)}, for its owner alone"),
            *(("not in it", text) for text in made.unknown),
            ("next", f"penstock replay {path}"),
        ]
    )


def _print(session: Session, rows: list[JobRow]) -> None:
    by_reason = sorted(rows, key=lambda row: row.reason or "")  # stable: newest stay first
    now_ms = session.now_ms()
    for place, (reason, group) in enumerate(groupby(by_reason, key=lambda row: row.reason or "")):
        if place:
            session.output.line()
        session.output.line(reason)
        session.output.table(_COLUMNS, [_cells(row, now_ms) for row in group])


def _cells(row: JobRow, now_ms: int) -> list[str]:
    died = "-" if row.finished_at is None else f"{span(max(0, now_ms - row.finished_at))} ago"
    return [row.id, row.task, row.queue, str(row.claims), died, row.error or ""]
