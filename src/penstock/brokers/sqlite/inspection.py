"""peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from penstock.broker.requests import JobFilter, JobPage, JobStatus, LeaseFacts, Owner, QueueCounts
from penstock.broker.stored import read_capacity, read_charges, read_spec, read_usage
from penstock.core.clock import Clock
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import (
    ATTEMPTS_KEPT,
    PRIORITY_MAX,
    AttemptRecord,
    JobRecord,
    Parent,
    Reason,
    StoredError,
)
from penstock.core.lifecycle import State
from penstock.core.rank import rank_of

from .snapshot import Snapshot
from .statements import read_statements
from .transaction import Row

_SQL: Final = read_statements("inspection")


def peek(db: Snapshot, ids: Sequence[JobId]) -> list[JobStatus | None]:
    """Return state and result of each job, None for unknown ones."""
    return [_status(db.row(_SQL["peek"], (job_id,))) for job_id in ids]


def get(db: Snapshot, job_id: JobId) -> JobRecord | None:
    """Return everything that is known of one job."""
    row = db.row(_SQL["job"], (job_id,))
    return None if row is None else _record(db, row)


def list_jobs(db: Snapshot, where: JobFilter, limit: int, before: JobId | None) -> JobPage:
    """Return the jobs that match, newest id first.

    Cost: an index on (state, id) serves all states but queued, running and completed; for these,
    and for task and reason, jobs are looked at from the newest on until the page is full.
    """
    sql, bindings = _listing(where, before)
    ids = [row[0] for row in db.rows(sql, (*bindings, limit + 1))]
    records = [get(db, job_id) for job_id in ids[:limit]]
    jobs = tuple(record for record in records if record is not None)
    return JobPage(jobs, jobs[-1].id if len(ids) > limit else None)


def _listing(where: JobFilter, before: JobId | None) -> tuple[str, list[str]]:
    conditions, bindings = ["TRUE"], list[str]()
    if where.queue is not None:
        conditions.append("queue = (SELECT tag FROM queue WHERE name = ?)")
        bindings.append(where.queue)
    if where.states is not None:
        # Only names out of the enum stand in the text, so that the index on them can be used.
        names = ", ".join(f"'{State(state)}'" for state in where.states)
        conditions.append(f"state IN ({names})")
    for column, value in (("task", where.task), ("reason", where.reason)):
        if value is not None:
            conditions.append(f"{column} = ?")
            bindings.append(value)
    if before is not None:
        conditions.append("id < ?")
        bindings.append(before)
    return _SQL["listing"].format(where="\nAND ".join(conditions)), bindings


def counts(db: Snapshot, now: int) -> list[QueueCounts]:
    """Return the counters of every queue, by name. Cost: O(queues x ready sets)."""
    found: dict[str, dict[str, int]] = {}
    queues: dict[str, tuple[int, bool]] = {}
    for tag, name, paused, state, jobs in db.rows(_SQL["counts"]):
        queues[name] = tag, bool(paused)
        found.setdefault(name, {})[state] = jobs
    return [
        QueueCounts(
            queue=name,
            paused=paused,
            oldest_queued_ms=_oldest(db, tag, now),
            **found[name],
        )
        for name, (tag, paused) in queues.items()
    ]


def _oldest(db: Snapshot, tag: int, now: int) -> int | None:
    arrivals = [
        head[0] - rank_of(priority, 0)
        for need in _needs_of(db, tag)
        # The oldest of a ready set is the head of one of its priority bands.
        for priority in range(PRIORITY_MAX + 1)
        for head in db.rows(
            _SQL["head_of_band"], (tag, need, rank_of(priority, 0), rank_of(priority - 1, 0))
        )
    ]
    return now - min(arrivals) if arrivals else None


def needs(db: Snapshot, queues: Mapping[str, int | None]) -> dict[str, list[str]]:
    """Return the names of the ready sets that are not empty. Cost: one look-up per set."""
    return {name: [] if tag is None else _needs_of(db, tag) for name, tag in queues.items()}


def _needs_of(db: Snapshot, tag: int) -> list[str]:
    return [need for (need,) in db.rows(_SQL["needs"], (tag,))]


def leases(db: Snapshot, clock: Clock) -> list[LeaseFacts]:
    """Return the leases that are not closed, those that have run out too."""
    return [_lease(db, clock, row) for row in db.rows(_SQL["leases"])]


def _lease(db: Snapshot, clock: Clock, row: Row) -> LeaseFacts:
    no, lease_id, *owner, wake_token, boot_id, expires_boot_ms, running, capacity = row
    queues = tuple(name for (name,) in db.rows(_SQL["lease_queues"], (no,)))
    is_of_this_boot = boot_id == clock.boot_id
    return LeaseFacts(
        id=LeaseId(lease_id),
        queues=queues,
        owner=Owner(*owner),
        expires_in_ms=expires_boot_ms - clock.boot_ms() if is_of_this_boot else None,
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


def _record(db: Snapshot, row: Row) -> JobRecord:
    (
        job_id, queue, stored, state, enqueued_at, due_at, expires_at, finished_at, reason,
        claim_number, charges, parents_left, cancel_requested, has_note, *attempt, result,
        result_dropped,
    ) = row  # fmt: skip
    spec, _ = read_spec(b"" if stored is None else stored)
    note = db.row(_SQL["note"], (job_id,)) if has_note else None
    progress, checkpoint = note or (None, None)
    parents = db.rows(_SQL["parents"], (job_id,))
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
        parents=tuple(Parent(JobId(parent), bool(ignores)) for parent, ignores in parents),
        parents_left=parents_left,
        cancel_requested=bool(cancel_requested),
        attempts=_attempts(db, job_id, claim_number, attempt),
        result=_raw(result),
        result_dropped=bool(result_dropped),
        progress=_raw(progress),
        checkpoint=_raw(checkpoint),
        log=tuple(line for (line,) in db.rows(_SQL["log"], (job_id,))) if has_note else (),
    )


def _attempts(
    db: Snapshot, job_id: str, claim_number: int, last: Sequence[object]
) -> tuple[AttemptRecord, ...]:
    """Return the kept attempts, oldest first; the row's own comes last unless it is kept too."""
    rows = db.rows(_SQL["attempts"], (job_id,))
    if claim_number > 0 and (not rows or rows[-1][0] != claim_number):
        rows.append((claim_number, *last))
    usages: dict[int, bytes] = dict(db.rows(_SQL["usages"], (job_id,))) if rows else {}
    return tuple(
        AttemptRecord(
            number,
            worker,
            pid,
            started_at,
            ended_at,
            outcome,
            _error(error),
            read_usage(usages.get(number)),
        )
        for number, worker, pid, started_at, ended_at, outcome, error in rows[-ATTEMPTS_KEPT:]
    )


def _error(stored: bytes | None) -> StoredError | None:
    return None if stored is None else msgspec.json.decode(stored, type=StoredError)


def _raw(stored: bytes | None) -> msgspec.Raw | None:
    return None if stored is None else msgspec.Raw(stored)
