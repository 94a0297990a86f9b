"""`penstock explain ID`: why a job does not run yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.explanation import Explanation, Scene, explain
from penstock.cli.findings import dead_workers, is_live
from penstock.cli.session import Session
from penstock.cli.sizes import size
from penstock.core.wording import counted


def explain_job(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The whole id of the job.")],
) -> Answer:
    """Tell why a job does not run.

    What it needs and how that is known, which live workers serve its queue and could hold it, and
    what stands in its way. Where nothing does, it waits for its turn.

    JSON: {"id", "state", "needs", "reservation_bytes", "blockers": [TEXT], "workers": [{"worker",
    "memory_bytes", "holds", "lacks"}], "waiting"}.
    """
    from penstock.client.flow import known
    from penstock.core.ids import check_job_id

    checked = check_job_id(job_id)
    with session.broker() as broker:
        record = known(broker.get(checked), checked)
        leases, task = broker.leases(), record.spec.task
        dead = dead_workers(leases)
        scene = Scene(
            record=record,
            counts=next((one for one in broker.counts() if one.queue == record.queue), None),
            leases=[one for one in leases if is_live(one) and one.owner.worker not in dead],
            footprint=broker.footprints([task]).get(task, {}),
            now_ms=time.time_ns() // 1_000_000,
        )
    found = explain(scene)
    if session.output.as_json:
        session.output.document(found)
    else:
        session.output.fields(_fields(found))
    return None


def _fields(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "id", found.id
    yield "state", found.state
    yield "needs", found.needs
    for one in found.workers:
        holds = {True: "could hold it", False: "cannot hold it", None: "does not say"}[one.holds]
        memory = "" if one.memory_bytes is None else f", of {size(one.memory_bytes)}"
        lacks = "" if one.lacks is None else f", lacks {one.lacks}"
        yield "worker", f"{one.worker} {holds}{memory}{lacks}"
    for blocker in found.blockers:
        yield "blocker", blocker
    if not found.blockers:
        waits = counted(found.waiting, "job is", "jobs are")
        yield "blocker", f"none: it waits for its turn, {waits} queued there"
