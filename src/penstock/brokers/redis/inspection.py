"""peek, get, list_jobs, counts, needs, leases: answers of `lua/inspection.lua`.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from penstock.broker.requests import JobFilter, JobPage, JobStatus, LeaseFacts, Owner, QueueCounts
from penstock.broker.stored import read_capacity, read_charges, read_spec, read_usage
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import ATTEMPTS_KEPT, AttemptRecord, JobRecord, Parent
from penstock.core.lifecycle import State

from .stored import Attempt, End, attempt_of, end_of, job_id_of, kept_attempt, split_spec

Q = TypeVar("Q")

_MORE: Final = msgspec.json.Decoder(dict[str, Any])
_OWNER: Final = msgspec.json.Decoder(Owner)
#: Records of one call of a listing: bounds how long the server is held up.
_PAGE: Final = 100
_EDGE_BYTES: Final = 17
#: States that are counted: jobs that wait for something, and those that ended without success.
_WAITING: Final = ("blocked", "scheduled", "retrying")
_FAILED: Final = ("dead", "cancelled", "expired")
#: Bytes of fence, lease and rank before the tail of a running job.
_HOLD_BYTES: Final = 39


def status_of(job_id: JobId, answer: Sequence[Any] | None) -> JobStatus | None:
    """Return state and result of a job, None for an unknown one."""
    if not answer:
        return None
    state, done, attempts = answer
    earlier = [kept_attempt(packed) for packed in attempts]
    error = next((attempt.error for attempt in reversed(earlier) if attempt.error), None)
    if not done:
        return JobStatus(id=job_id, state=State(state.decode()), error=error)
    end = end_of(done)
    return JobStatus(
        id=job_id,
        state=end.state,
        reason=end.reason,
        result=None if end.result is None else msgspec.Raw(end.result),
        result_dropped=end.dropped,
        error=end.error or error,
    )


def record_of(answer: Sequence[Any]) -> JobRecord:
    """Return everything that is known of one job."""
    raw_id, queue, stored, state, more_text, run, done, left, edges, kept, notes, log = answer
    more = _MORE.decode(more_text) if more_text else {}
    enqueued_at, due_at, json = split_spec(job_id_of(raw_id), stored)
    spec, _ = read_spec(json)
    end = end_of(done) if done else None
    last = attempt_of(run[_HOLD_BYTES:]) if run else end.attempt if end else None
    noted = dict(zip(notes[::2], notes[1::2], strict=True))
    progress, checkpoint = noted.get(b"progress"), noted.get(b"checkpoint")
    expires_at = None if spec.expires_ms is None else enqueued_at + spec.expires_ms
    return JobRecord(
        id=job_id_of(raw_id),
        queue=queue.decode(),
        spec=spec,
        state=State(state.decode()),
        enqueued_at=enqueued_at,
        due_at=(int(more["due"]) or None) if "due" in more else due_at,
        expires_at=int(more["expires"]) if "expires" in more else expires_at,
        finished_at=None if end is None else end.finished_at,
        reason=None if end is None else end.reason,
        claim_number=last.number if last else int(more.get("n", 0)),
        charges=read_charges(more.get("charges"))[0],
        parents=tuple(_parents(edges)),
        parents_left=int(left),
        cancel_requested=bool(more.get("cancel")),
        attempts=_with_usages(_attempts(kept, last, end), noted),
        result=None if end is None or end.result is None else msgspec.Raw(end.result),
        result_dropped=end is not None and end.dropped,
        progress=None if progress is None else msgspec.Raw(progress),
        checkpoint=None if checkpoint is None else msgspec.Raw(checkpoint),
        log=tuple(line.decode() for line in log),
    )


def _parents(edges: bytes) -> Iterator[Parent]:
    for at in range(0, len(edges), _EDGE_BYTES):
        edge = edges[at : at + _EDGE_BYTES]
        yield Parent(job_id_of(edge[:-1]), edge[-1:] == b"1")


def _attempts(
    kept: Sequence[bytes], last: Attempt | None, end: End | None
) -> tuple[AttemptRecord, ...]:
    attempts = [kept_attempt(packed) for packed in kept]
    if last is not None:
        attempts.append(
            AttemptRecord(
                number=last.number,
                worker=last.worker,
                pid=last.pid if end is None or end.pid is None else end.pid,
                started_at=last.claimed_at,
                ended_at=None if end is None else end.finished_at,
                outcome=None if end is None else end.outcome,
                error=None if end is None else end.error,
            )
        )
    return tuple(attempts[-ATTEMPTS_KEPT:])


def _with_usages(
    attempts: tuple[AttemptRecord, ...], noted: Mapping[bytes, bytes]
) -> tuple[AttemptRecord, ...]:
    """Return the attempts with what they were measured to take, which stands beside the notes."""
    usages = [read_usage(noted.get(b"usage:%d" % attempt.number)) for attempt in attempts]
    if not any(usages):
        return attempts
    return tuple(
        msgspec.structs.replace(attempt, usage=usage)
        for attempt, usage in zip(attempts, usages, strict=True)
    )


def records_of(answers: Sequence[Any]) -> list[JobRecord]:
    """Return everything that is known of several jobs."""
    return [record_of(answer) for answer in answers]


def list_jobs(
    question: Callable[[int, JobId | None], Q],
    where: JobFilter,
    limit: int,
    before: JobId | None,
) -> Generator[Q, Sequence[JobRecord], JobPage]:
    """Look for the jobs that match, newest id first.

    Args:
        question: asks for so many records below an id, newest first.
        where: the filter.
        limit: of the page.
        before: only ids below it.

    Cost: jobs are looked at from the newest on, a hundred a call, until the page is full.
    """
    found: list[JobRecord] = []
    while True:
        records = yield question(_PAGE, before)
        for record in records:
            if not _matches(record, where):
                continue
            if len(found) == limit:
                return JobPage(tuple(found), found[-1].id)
            found.append(record)
        if len(records) < _PAGE:
            return JobPage(tuple(found), None)
        before = records[-1].id


def _matches(record: JobRecord, where: JobFilter) -> bool:
    return (
        (where.states is None or record.state in where.states)
        and (where.task is None or record.spec.task == where.task)
        and (where.reason is None or record.reason == where.reason)
    )


def counts_of(answers: Sequence[Any]) -> list[QueueCounts]:
    """Return the counters of every queue, by name.

    What most jobs pass through is not counted: each job is in one state, and the hashes of all, of
    running and of final jobs know their sizes.
    """
    found = []
    for name, flat, oldest, known, running, final in answers:
        kept = {key.decode(): int(value) for key, value in zip(flat[::2], flat[1::2], strict=True)}
        counted = {state: kept.get(state, 0) for state in (*_WAITING, *_FAILED)}
        waiting = sum(counted[state] for state in _WAITING)
        found.append(
            QueueCounts(
                queue=name.decode(),
                queued=known - running - final - waiting,
                running=running,
                completed=final - sum(counted[state] for state in _FAILED),
                paused=bool(kept.get("paused", 0)),
                oldest_queued_ms=int(oldest) if oldest else None,
                **counted,
            )
        )
    return sorted(found, key=lambda one: one.queue)


def lease_of(answer: Sequence[Any]) -> LeaseFacts:
    """Return one open lease."""
    raw_id, names, owner, expires_in_ms, running, token, capacity = answer
    return LeaseFacts(
        id=LeaseId(raw_id.hex()),
        queues=tuple(names.decode().strip("\n").split("\n")),
        owner=_OWNER.decode(owner),
        expires_in_ms=int(expires_in_ms),
        running=running,
        wake_token=token.decode() or None,
        capacity=read_capacity(capacity),
    )
