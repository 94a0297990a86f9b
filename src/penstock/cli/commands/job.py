"""`penstock job ID`: all that is known of one job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.command import Answer
from penstock.cli.exits import Exit
from penstock.cli.session import Session
from penstock.cli.shapes import Attempt, JobDocument
from penstock.cli.sizes import size
from penstock.cli.times import instant, seconds, span
from penstock.core.wording import counted
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker
    from penstock.core.ids import JobId
    from penstock.core.job import JobRecord
    from penstock.core.usage import Usage


def job(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The whole id of the job.")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the job is final; exit 1 unless completed.")
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="With --wait: give up after, for example 30s; exit 1."
        ),
    ] = None,
) -> Answer:
    """Show all that is known of one job.

    What was asked, each attempt with its process and outcome, errors, progress, log, result.
    JSON: one document with all of it.
    """
    from penstock.client.flow import known
    from penstock.core.ids import check_job_id
    from penstock.core.lifecycle import State

    checked = check_job_id(job_id)
    timeout_s = seconds(timeout, "--timeout")
    if timeout_s is not None and not wait:
        raise BadSetting(
            f"--timeout {timeout!r:.80} without --wait ends nothing: add --wait, or leave it out"
        )
    with session.broker() as broker:
        if wait:
            _wait(broker, checked, timeout_s)
        record = known(broker.get(checked), checked)
    if session.output.as_json:
        session.output.document(JobDocument.of(record))
    else:
        session.output.fields(fields(record))
    return Exit.FAILED if wait and record.state is not State.COMPLETED else Exit.OK


def _wait(broker: Broker, job_id: JobId, timeout_s: float | None) -> None:
    """Look at a job until it is final. Raises ResultTimeout and JobNotFound."""
    from penstock.client import flow
    from penstock.client.drive import drive

    drive(flow.wait(job_id, timeout_s=timeout_s, now_s=time.monotonic), broker, time.sleep)


def fields(record: JobRecord) -> Iterator[tuple[str, str]]:
    """Yield all that is known of a job as (name, text) for people."""
    shown = JobDocument.of(record)
    yield "id", shown.id
    state = shown.state + (" (cancel requested)" if shown.cancel_requested else "")
    yield "state", state
    if shown.reason:
        yield "reason", shown.reason
    yield "task", shown.task
    yield "queue", shown.queue
    yield "priority", str(shown.priority)
    yield "arguments", _json(shown.arguments)
    for name, value in shown.options.items():
        yield name, str(value)
    if shown.tags:
        yield "tags", " ".join(shown.tags)
    for edge in shown.parents:
        yield "after", edge.id + (" (failure ignored)" if edge.ignore_failure else "")
    if shown.parents_left:
        yield "parents left", str(shown.parents_left)
    yield from _times(shown)
    yield from _attempts(shown)
    for name in ("progress", "checkpoint", "result"):
        value = getattr(shown, name)
        if value is not None:
            yield name, _json(value)
    if shown.result_dropped:
        yield "result", "dropped: its result_ttl is over, or the broker had no room for it"
    if shown.log:
        yield "log", "\n".join(shown.log)


def _times(shown: JobDocument) -> Iterator[tuple[str, str]]:
    yield "enqueued", instant(shown.enqueued_at)
    for name, at in (
        ("due", shown.due_at),
        ("expires", shown.expires_at),
        ("finished", shown.finished_at),
    ):
        if at is not None:
            yield name, f"{instant(at)}  ({span(at - shown.enqueued_at)} after enqueue)"


def _attempts(shown: JobDocument) -> Iterator[tuple[str, str]]:
    yield "claims", str(shown.claims)
    charged = [
        counted(count, one, many)
        for one, many, count in (
            ("error", "errors", shown.charges.errors),
            ("crash", "crashes", shown.charges.crashes),
            ("out of memory", "out of memory", shown.charges.ooms),
        )
        if count
    ]
    # What is final has no next attempt.
    if shown.charges.suspect and shown.finished_at is None:
        charged.append("suspect: its next attempt runs alone in a child")
    if charged:
        yield "charged", ", ".join(charged)
    for attempt in shown.attempts:
        yield f"attempt {attempt.number}", _attempt(attempt)


def _attempt(attempt: Attempt) -> str:
    end = "running"
    if attempt.ended_at is not None:
        end = f"{attempt.outcome} after {span(attempt.ended_at - attempt.started_at)}"
    where = f"pid {attempt.pid} of {attempt.worker}"
    lines = [f"{end}, {where}, from {instant(attempt.started_at)}"]
    if attempt.usage is not None:
        lines += _usage(attempt.usage)
    if attempt.error is not None:
        lines.append(f"{attempt.error.kind}: {attempt.error.message}")
        lines += (attempt.error.traceback or "").splitlines()
    return "\n".join(lines)


def _usage(usage: Usage) -> Iterator[str]:
    """Yield the lines of what an attempt took: what is not known is left out."""
    told = []
    if usage.peak_bytes is not None:
        told.append(f"peak {size(usage.peak_bytes)}")
    if usage.reserved_bytes is not None:
        of = "of " if told else ""
        told.append(f"{of}{size(usage.reserved_bytes)} reserved")
    notes = [
        f"{name} {size(value)}"
        for name, value in (("baseline", usage.baseline_bytes), ("limit", usage.limit_bytes))
        if value is not None
    ]
    if usage.measured is not None:
        notes.append(f"by {usage.measured}")
    if notes:
        told.append(f"({', '.join(notes)})")
    parts = [" ".join(told)] if told else []
    if usage.cpu_ms is not None:
        parts.append(f"cpu {span(usage.cpu_ms)}")
    if parts:
        yield ", ".join(parts)
    if usage.evidence is not None:
        yield f"out of memory: {usage.evidence}"


def _json(value: Any) -> str:
    """Return stored JSON as text: small values in one line, larger ones indented."""
    import msgspec

    text = bytes(value)
    return msgspec.json.format(text, indent=2 if len(text) > ONE_LINE_BYTES_MAX else -1).decode()


#: Bytes of JSON shown in one line; longer values are easier to read indented.
ONE_LINE_BYTES_MAX = 100
