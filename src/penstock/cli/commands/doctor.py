"""`penstock doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from penstock.cli import findings as f
from penstock.cli.command import Answer
from penstock.cli.exits import Exit
from penstock.cli.memory_findings import of_memory
from penstock.cli.output import Column, Output
from penstock.cli.session import Session
from penstock.cli.times import span


def doctor(
    session: Session,
    *,
    worker: Annotated[
        bool, typer.Option("--worker", help="Ask the workers of this user on this host instead.")
    ] = False,
) -> Answer:
    """Check settings, broker, queues and workers.

    Exits with 1 when there is a problem; warnings do not count. JSON: {"findings": [{"state",
    "what", "text"}], "broker": {...}, "workers": [{"worker", "host", "pid", "queues",
    "expires_in_ms", "running", "dead"}]}; state is ok, warning or problem. With --worker:
    {"workers": [{"socket", "state", "text", "health"}]}; it exits with 0 when at least one worker
    answers and all that answer are live.
    """
    if worker:
        return _ask_workers(session.output)
    found = list(f.of_installation())
    config = session.config()
    found += f.of_settings(config)
    found += of_memory(config)
    broker_document: dict[str, Any] | None = None
    workers: list[f.WorkerRow] = []
    try:
        with session.broker() as broker:
            facts = broker.describe()
            leases = broker.leases()
            found += f.of_broker(facts)
            dead = f.dead_workers(leases)
            counts = broker.counts()
            found += f.of_workers(leases, counts, dead)
            found += f.of_stances(leases, dead)
            needs = broker.needs([one.queue for one in counts])
            found += f.of_needs(needs, leases, dead)
        broker_document = msgspec.to_builtins(facts)
        workers = [f.WorkerRow.of(one, dead=one.owner.worker in dead) for one in leases]
    except f.BROKER_TROUBLE as error:
        found.append(f.Finding("problem", "broker", str(error)))
    out = session.output
    if out.as_json:
        out.document({"findings": found, "broker": broker_document, "workers": workers})
    else:
        _print(out, found, workers)
    return Exit.FAILED if any(one.state == "problem" for one in found) else Exit.OK


def _ask_workers(out: Output) -> Answer:
    from penstock.cli import workers

    answers = list(workers.ask_all())
    if out.as_json:
        out.document({"workers": answers})
    else:
        workers.show(out, answers)
        if not any(one.health for one in answers):
            out.note("no worker of this user answers on this host")
    are_well = any(a.state == "ok" for a in answers) and all(a.state != "problem" for a in answers)
    return Exit.OK if are_well else Exit.FAILED


def _print(out: Output, found: list[f.Finding], workers: list[f.WorkerRow]) -> None:
    out.table(
        [Column("state", whole=True), Column("what"), Column("finding", wraps=True)],
        [[one.state, one.what, one.text] for one in found],
    )
    if workers:
        out.line()
        columns = [
            Column("worker", whole=True),
            Column("host", spare=3),
            Column("pid", right=True),
            Column("running", right=True),
            Column("lease for", right=True, spare=1),
            Column("queues", spare=2),
        ]
        out.table(columns, [_cells(row) for row in workers])


def _cells(row: f.WorkerRow) -> list[str]:
    left = "of another boot" if row.expires_in_ms is None else span(row.expires_in_ms)
    if row.dead:
        left = "dead"
    return [row.worker, row.host, str(row.pid), str(row.running), left, ",".join(row.queues)]
