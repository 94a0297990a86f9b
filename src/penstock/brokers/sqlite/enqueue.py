"""enqueue: store jobs.

transitions:
    (none) --enqueue--> queued
    (none) --enqueue--> scheduled
    (none) --enqueue--> blocked
    (none) --enqueue--> cancelled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, repeat
from typing import Final, NamedTuple

from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.core.ids import JobId
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.core.rank import rank_of
from penstock.errors import DuplicateKey, JobNotFound, PayloadTooLarge

from .family import held_back_by
from .statements import read_statements
from .transaction import Row, Transaction

_SQL: Final = read_statements("enqueue")
#: Bytes; a longer spec stands in a table of its own, so that a row with its result fits a page of
#: 2 KiB and no claim or settle writes a chain of overflow pages.
_ROW_SPEC_BYTES_MAX: Final = 1_024


class Entry(NamedTuple):
    """One job to be stored, made ready outside the transaction.

    Attributes:
        spec: the immutable record as JSON.
        refused: the answer, where the job is refused whatever the file holds.
    """

    request: EnqueueRequest
    tag: int
    spec: bytes
    refused: Refused | None


def _is_plain(entry: Entry) -> bool:
    """Return whether a job is one row, and nothing but its id can be in the way."""
    return (
        len(entry.spec) <= _ROW_SPEC_BYTES_MAX
        and not entry.request.parents
        and entry.request.spec.key is None
        and entry.refused is None
    )


def make_entry(
    request: EnqueueRequest, tags: Mapping[str, int], spec: bytes, payload_bytes_max: int
) -> Entry:
    """Return the entry of one request.

    The spec holds the payload, so that only the payload of a long spec need be measured.
    """
    refused = None
    if len(spec) > payload_bytes_max:
        size = len(bytes(request.spec.payload))
        if size > payload_bytes_max:  # Guard: payload fits
            refused = Refused(
                PayloadTooLarge(
                    f"payload of job {request.id} has {size} bytes, {payload_bytes_max} are "
                    "allowed: store it elsewhere and pass its address"
                )
            )
    return Entry(request, tags[request.queue], spec, refused)


def enqueue(
    tx: Transaction, entries: Sequence[Entry], durability: Durability
) -> list[Accepted | Refused]:
    """Store each job, or say why not; runs of plain jobs go in together."""
    answers: list[Accepted | Refused] = []
    for is_plain, run in groupby(entries, key=_is_plain):
        if is_plain:
            answers += _store_plain(tx, list(run), durability)
        else:
            answers += [_store_one(tx, entry, durability) for entry in run]
    return answers


def _store_plain(tx: Transaction, entries: list[Entry], durability: Durability) -> list[Accepted]:
    states = [_first_state(tx.now, entry.request) for entry in entries]
    fresh = _insert(tx, entries, states)
    if fresh is None:
        _count(tx, entries, states)
        return [
            Accepted(entry.request.id, state, durability)
            for entry, state in zip(entries, states, strict=True)
        ]
    answers: list[Accepted] = []
    for entry, state in zip(entries, states, strict=True):
        if entry.request.id in fresh:
            fresh.discard(entry.request.id)
            _count(tx, [entry], [state])
            answers.append(Accepted(entry.request.id, state, durability))
        else:
            answers.append(_known(tx, entry.request.id, durability))
    return answers


def _insert(tx: Transaction, entries: list[Entry], states: list[State]) -> set[str] | None:
    """Insert the jobs that are not known; return the ids of those, None where all are."""
    is_one = len(entries) == 1
    newest = None if is_one else tx.rows(_SQL["newest"])[0]
    inserted = tx.change(_SQL["insert"], map(_row, entries, states, repeat(tx.now)))
    if inserted == len(entries):
        return None
    # Numbers of rows rise, so the new ones stand above the one that was newest before.
    return {row[0] for row in tx.rows(_SQL["newer"], newest)} if newest else set()


def _count(tx: Transaction, entries: Sequence[Entry], states: Sequence[State]) -> None:
    for entry, state in zip(entries, states, strict=True):
        tx.moved(entry.tag, None, state)
        if state is State.QUEUED:
            tx.fresh[entry.tag, entry.request.spec.need] += 1


def _known(tx: Transaction, job_id: JobId, durability: Durability) -> Accepted:
    [(state,)] = tx.rows(_SQL["state_of"], (job_id,))
    return Accepted(job_id, State(state), durability, duplicate=True)


def _store_one(tx: Transaction, entry: Entry, durability: Durability) -> Accepted | Refused:
    """Store one job that has a key, parents, a long spec or a refusal."""
    request = entry.request
    known = tx.row(_SQL["state_of"], (request.id,))
    if known is not None:  # Guard: same id is the same job
        return Accepted(request.id, State(known[0]), durability, duplicate=True)
    if entry.refused is not None:
        return entry.refused
    taken = _holder(tx, request, durability)
    if taken is not None:
        return taken
    for parent in request.parents:
        if tx.row(_SQL["state_of"], (parent.id,)) is None:  # Guard: parents are known
            return _parent_unknown(request.id, parent.id)
    return Accepted(request.id, _store_special(tx, entry), durability)


def _holder(
    tx: Transaction, request: EnqueueRequest, durability: Durability
) -> Accepted | Refused | None:
    """Return the answer for a key that is taken, None where it is free."""
    key = request.spec.key
    held = None if key is None else tx.row(_SQL["holder"], (request.spec.task, key, tx.now))
    if held is None:
        return None
    holder, digest, state = held
    if digest != request.key_digest:  # Guard: key digest
        return Refused(
            DuplicateKey(
                f"key {key!r} of task {request.spec.task} belongs to job {holder}, which has "
                "other arguments: use another key, or wait until its window ends",
                job_id=holder,
            )
        )
    return Accepted(JobId(holder), State(state), durability, duplicate=True)


def _parent_unknown(job_id: JobId, parent: JobId) -> Refused:
    return Refused(
        JobNotFound(
            f"parent {parent} of job {job_id} is not known: it was never enqueued, was deleted, "
            "or its retention is over"
        )
    )


def _store_special(tx: Transaction, entry: Entry) -> State:
    request = entry.request
    edges = [
        (request.id, place, parent.id, parent.ignore_failure)
        for place, parent in enumerate(request.parents)
    ]
    tx.each(_SQL["insert_edge"], edges)
    tx.each(_SQL["mark_parent"], [(parent.id,) for parent in request.parents])
    parents_left, broken = held_back_by(tx, request.id) if edges else (0, 0)
    state = _first_state(tx.now, request)
    if broken:
        state, parents_left = State.CANCELLED, 0
    elif parents_left > 0:  # Guard: unfinished parents
        state = State.BLOCKED
    tx.rows(_SQL["insert"], _row(entry, state, tx.now, parents_left))
    if len(entry.spec) > _ROW_SPEC_BYTES_MAX:
        tx.rows(_SQL["insert_long_spec"], (request.id, entry.spec))
    if request.spec.key is not None:
        until = tx.now + request.key_ttl_ms
        hold = (request.spec.task, request.spec.key, request.id, request.key_digest, until, state)
        tx.rows(_SQL["hold_key"], hold)
    _count(tx, [entry], [state])
    return state


def _first_state(now: int, request: EnqueueRequest) -> State:
    due_at = _due_at(now, request)
    if due_at is not None and due_at > now:  # Guard: not before it is due
        return State.SCHEDULED
    return State.QUEUED


def _due_at(now: int, request: EnqueueRequest) -> int | None:
    return request.due_at if request.delay_ms is None else now + request.delay_ms


def _row(entry: Entry, state: State, now: int, parents_left: int = 0) -> Row:
    request, spec = entry.request, entry.request.spec
    is_cancelled = state is State.CANCELLED
    return (
        request.id,
        entry.tag,
        state,
        spec.task,
        spec.priority,
        spec.need,
        rank_of(spec.priority, now),
        now,
        _due_at(now, request),
        None if spec.expires_ms is None else now + spec.expires_ms,
        spec.expires_ms,
        spec.result_ttl_ms,
        now if is_cancelled else None,
        Reason.PARENT_FAILED if is_cancelled else None,
        parents_left,
        entry.spec if len(entry.spec) <= _ROW_SPEC_BYTES_MAX else None,
    )
