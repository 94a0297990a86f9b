"""peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.

transitions: none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.broker.requests import JobFilter, JobPage, JobStatus, LeaseFacts, Owner, QueueCounts
from penstock.broker.stored import read_capacity, read_charges, read_spec, read_usage
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import ATTEMPTS_KEPT, AttemptRecord, JobRecord, Parent, Reason, StoredError
from penstock.core.lifecycle import State

from .statements import read_statements
from .transaction import Row, Transaction

_SQL: Final = read_statements("inspection")

Parts = Mapping[str, Sequence[Row]]
"""Job -> its rows of another table, in order, without the job's id."""


def peek(tx: Transaction, ids: Sequence[JobId]) -> list[JobStatus | None]:
    """Return state and result of each job, None for unknown ones."""
    found = {row[0]: row for row in tx.rows(_SQL["peek"], {"ids": list(ids)})}
    return [_status(found.get(job_id)) for job_id in ids]


def get(tx: Transaction, job_id: JobId) -> JobRecord | None:
    """Return everything that is known of one job."""
    return next(iter(_records(tx, [job_id])), None)


def list_jobs(tx: Transaction, where: JobFilter, limit: int, before: JobId | None) -> JobPage:
    """Return the jobs that match, newest id first.

    Cost: an index on (state, id) serves all states but queued, running and completed; for these,
    and for task and reason, jobs are looked at from the newest on until the page is full.
    """
    sql, values = _listing(where, before)
    ids = [row[0] for row in tx.rows(sql, {**values, "limit": limit + 1})]
    jobs = tuple(_records(tx, ids[:limit]))
    return JobPage(jobs, jobs[-1].id if len(ids) > limit else None)


def _listing(where: JobFilter, before: JobId | None) -> tuple[str, dict[str, Any]]:
    conditions, values = ["TRUE"], dict[str, Any]()
    if where.queue is not None:
        conditions.append("queue = (SELECT tag FROM penstock.queue WHERE name = %(queue)s)")
        values["queue"] = where.queue
    if where.states is not None:
        # Only names out of the enum stand in the text, so that the index on them can be used.
        names = ", ".join(f"'{State(state)}'" for state in where.states)
        conditions.append(f"state IN ({names})" if names else "FALSE")
    for column, value in (("task", where.task), ("reason", where.reason)):
        if value is not None:
            conditions.append(f"{column} = %({column})s")
            values[column] = value
    if before is not None:
        conditions.append("id < %(before)s")
        values["before"] = before
    return _SQL["listing"].format(where="\nAND ".join(conditions)), values


def counts(tx: Transaction) -> list[QueueCounts]:
    """Return the counters of every queue, by name.

    Cost: one row per change of a counter since `prune` folded them, and O(queues x ready sets).
    """
    rows = tx.send(_SQL["counts"])
    oldest: dict[int, int] = dict(tx.rows(_SQL["oldest"]))
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    queues: dict[str, tuple[int, bool]] = {}
    for tag, name, paused, state, jobs in rows.fetchall():
        queues[name] = tag, paused
        if state is not None:
            found[name][state] = jobs
    return [
        QueueCounts(queue=name, paused=paused, oldest_queued_ms=oldest.get(tag), **found[name])
        for name, (tag, paused) in queues.items()
    ]


def needs(tx: Transaction, queues: Mapping[str, int | None]) -> dict[str, list[str]]:
    """Return the names of the ready sets that are not empty. Cost: one look-up per set."""
    tags = [tag for tag in queues.values() if tag is not None]
    found: defaultdict[int, list[str]] = defaultdict(list)
    for tag, need in tx.rows(_SQL["needs"], {"queues": tags}):
        found[tag].append(need)
    return {name: [] if tag is None else found[tag] for name, tag in queues.items()}


def leases(tx: Transaction) -> list[LeaseFacts]:
    """Return the leases that are not closed, those that have run out too."""
    return [_lease(row) for row in tx.rows(_SQL["leases"])]


def _lease(row: Row) -> LeaseFacts:
    lease_id, queues, *owner, wake_token, expires_in_ms, running, capacity = row
    return LeaseFacts(
        id=LeaseId(lease_id),
        queues=tuple(queues),
        owner=Owner(*owner),
        expires_in_ms=expires_in_ms,
        running=running,
        wake_token=wake_token,
        capacity=read_capacity(capacity),
    )


def _status(row: Row | None) -> JobStatus | None:
    if row is None:
        return None
    job_id, state, reason, result, result_dropped, error = row
    return JobStatus(
        id=JobId(job_id),
        state=State(state),
        reason=None if reason is None else Reason(reason),
        result=_raw(result),
        result_dropped=bool(result_dropped),
        error=_error(error),
    )


def _records(tx: Transaction, ids: Sequence[str]) -> list[JobRecord]:
    """Return the records of jobs, newest id first. Cost: one round trip for all."""
    asked = {"ids": list(ids)}
    jobs = tx.send(_SQL["jobs"], asked)
    tables = ("attempts", "usages", "parents", "notes", "logs")
    sent = {table: tx.send(_SQL[table], asked) for table in tables}
    parts = {table: _by_job(cursor.fetchall()) for table, cursor in sent.items()}
    return [_record(row, parts) for row in jobs.fetchall()]


def _by_job(rows: Sequence[Row]) -> Parts:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for job_id, *rest in rows:
        found[job_id].append(tuple(rest))
    return found


def _record(row: Row, parts: Mapping[str, Parts]) -> JobRecord:
    (
        job_id, queue, stored, state, enqueued_at, due_at, expires_at, finished_at, reason,
        claim_number, charges, parents_left, cancel_requested, *attempt, result, result_dropped,
    ) = row  # fmt: skip
    spec, _ = read_spec(b"" if stored is None else stored)
    notes = parts["notes"].get(job_id)
    progress, checkpoint = notes[0] if notes else (None, None)
    return JobRecord(
        id=JobId(job_id),
        queue=queue,
        spec=spec,
        state=State(state),
        enqueued_at=enqueued_at,
        due_at=due_at,
        expires_at=expires_at,
        finished_at=finished_at,
        reason=None if reason is None else Reason(reason),
        claim_number=claim_number,
        charges=read_charges(charges)[0],
        parents=tuple(Parent(JobId(p), ignores) for p, ignores in parts["parents"].get(job_id, ())),
        parents_left=parents_left,
        cancel_requested=cancel_requested,
        attempts=_attempts(parts, job_id, claim_number, attempt),
        result=_raw(result),
        result_dropped=result_dropped,
        progress=_raw(progress),
        checkpoint=_raw(checkpoint),
        log=tuple(line.decode() for (line,) in parts["logs"].get(job_id, ())),
    )


def _attempts(
    parts: Mapping[str, Parts], job_id: str, claim_number: int, last: Sequence[object]
) -> tuple[AttemptRecord, ...]:
    """Return the kept attempts, oldest first; the row's own comes last unless it is kept too."""
    rows = list(parts["attempts"].get(job_id, ()))
    if claim_number > 0 and (not rows or rows[-1][0] != claim_number):
        rows.append((claim_number, *last))
    usages = {number: read_usage(usage) for number, usage in parts["usages"].get(job_id, ())}
    return tuple(
        AttemptRecord(
            number, worker, pid, started_at, ended_at, outcome, _error(error), usages.get(number)
        )
        for number, worker, pid, started_at, ended_at, outcome, error in rows[-ATTEMPTS_KEPT:]
    )


def _error(stored: bytes | None) -> StoredError | None:
    return None if stored is None else msgspec.json.decode(stored, type=StoredError)


def _raw(stored: bytes | None) -> msgspec.Raw | None:
    return None if stored is None else msgspec.Raw(stored)
