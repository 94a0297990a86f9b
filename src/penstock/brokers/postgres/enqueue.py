"""enqueue: store jobs.

transitions:
    (none) --enqueue--> queued
    (none) --enqueue--> scheduled
    (none) --enqueue--> blocked
    (none) --enqueue--> cancelled
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from penstock.errors import DuplicateKey, JobNotFound, PayloadTooLarge

from . import arrays
from .family import held_back_by
from .sleeper import wake_sleepers
from .statements import read_statements
from .transaction import Sent, Transaction

_SQL: Final = read_statements("enqueue")

Answers = list[Accepted | Refused]


class Entry(NamedTuple):
    """One job to be stored, made ready outside the transaction.

    Attributes:
        spec: the immutable record as JSON.
        refused: the answer, where the job is refused whatever the database holds.
        parents_left: parents that hold it back.
        is_broken: a parent has failed.
    """

    request: EnqueueRequest
    tag: int
    spec: bytes
    refused: Refused | None
    parents_left: int = 0
    is_broken: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is one row, and nothing but its id can be in the way."""
        return not self.request.parents and self.request.spec.key is None and self.refused is None


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
) -> Callable[[], Answers]:
    """Store each job, or say why not; runs of plain jobs go in together.

    Returns:
        What reads the answers; before COMMIT as well as after it where all jobs are plain.
    """
    if all(entry.is_plain for entry in entries):
        stored = tx.send(_SQL["store"], {**_values(entries), "commit": tx.commit})
        return lambda: _answers(tx, entries, stored, durability)
    # Race: locked in one order before any of the jobs, so that two batches with parents in common
    # do not wait for each other.
    parents = [parent.id for entry in entries for parent in entry.request.parents]
    tx.send(_SQL["mark_parents"], {"parents": parents})
    answers: Answers = []
    for is_plain, run in groupby(entries, key=lambda entry: entry.is_plain):
        if is_plain:
            answers += enqueue(tx, list(run), durability)()
        else:
            answers += [_store_one(tx, entry, durability) for entry in run]
    return lambda: answers


def wake_for(entries: Sequence[Entry]) -> Callable[[Transaction], None] | None:
    """Return what wakes sleepers for these jobs once they are stored; None: the answers must tell.

    One that was known already wakes in vain.
    """
    if not all(entry.is_plain and entry.request.due_at is None for entry in entries):
        return None
    fresh = Counter(
        (entry.tag, entry.request.spec.need) for entry in entries if not entry.request.delay_ms
    )

    def follow(tx: Transaction) -> None:
        wake_sleepers(tx, fresh)

    return follow


def _answers(
    tx: Transaction, entries: Sequence[Entry], stored: Sent, durability: Durability
) -> Answers:
    states: dict[str, str] = {}
    for job_id, state, queue, need in stored.fetchall():
        states[job_id] = state
        if state == State.QUEUED:
            tx.fresh[queue, need] += 1
    fresh = set(states)
    if known := [entry.request.id for entry in entries if entry.request.id not in fresh]:
        # The statement above cannot see those that somebody else brought while it ran.
        states |= tx.rows(_SQL["states_of"], {"ids": known})
    answers: Answers = []
    for entry in entries:
        job_id = entry.request.id
        # Race: forgotten since: it was final.
        state = State(states.get(job_id, State.COMPLETED))
        answers.append(Accepted(job_id, state, durability, duplicate=job_id not in fresh))
        fresh.discard(job_id)
    return answers


def _store_one(tx: Transaction, entry: Entry, durability: Durability) -> Accepted | Refused:
    """Store one job that has a key, parents or a refusal."""
    request = entry.request
    known = tx.rows(_SQL["states_of"], {"ids": [request.id]})
    if known:  # Guard: same id is the same job
        return Accepted(request.id, State(known[0][1]), durability, duplicate=True)
    if entry.refused is not None:
        return entry.refused
    taken = _hold_key(tx, request, durability)
    if taken is not None:
        return taken
    if request.parents:
        ids = [parent.id for parent in request.parents]
        marked = {job_id for (job_id,) in tx.rows(_SQL["mark_parents"], {"parents": ids})}
        unknown = [parent for parent in ids if parent not in marked]
        if unknown:  # Guard: parents are known
            _let_key_go(tx, request)
            return _parent_unknown(request.id, unknown[0])
        entry = _with_parents(tx, entry, ids)
    return _store_as_it_is(tx, entry, durability)


def _store_as_it_is(tx: Transaction, entry: Entry, durability: Durability) -> Accepted | Refused:
    """Store one job whose key and parents are seen to."""
    stored = tx.send(_SQL["store"], {**_values([entry]), "commit": tx.commit})
    [answer] = _answers(tx, [entry], stored, durability)
    return answer


def _with_parents(tx: Transaction, entry: Entry, ids: list[JobId]) -> Entry:
    edges = {
        "child": entry.request.id,
        "parents": ids,
        "ignore_failure": [parent.ignore_failure for parent in entry.request.parents],
    }
    tx.send(_SQL["insert_edges"], edges)
    held_back, broken = held_back_by(tx, entry.request.id)
    return entry._replace(parents_left=0 if broken else held_back, is_broken=broken > 0)


def _hold_key(
    tx: Transaction, request: EnqueueRequest, durability: Durability
) -> Accepted | Refused | None:
    """Take the key of a job; return the answer where it is taken, None where it is ours."""
    task, key = request.spec.task, request.spec.key
    if key is None:
        return None
    values = {
        "task": task,
        "key": key,
        "job": request.id,
        "digest": request.key_digest,
        "ttl_ms": request.key_ttl_ms,
    }
    if tx.row(_SQL["hold_key"], values) is not None:
        return None
    [(holder, digest, state)] = tx.rows(_SQL["holder"], {"task": task, "key": key})
    if digest != request.key_digest:  # Guard: key digest
        return Refused(
            DuplicateKey(
                f"key {key!r} of task {task} belongs to job {holder}, which has other arguments: "
                "use another key, or wait until its window ends",
                job_id=holder,
            )
        )
    return Accepted(JobId(holder), State(state), durability, duplicate=True)


def _let_key_go(tx: Transaction, request: EnqueueRequest) -> None:
    if request.spec.key is not None:
        values = {"task": request.spec.task, "key": request.spec.key, "job": request.id}
        tx.send(_SQL["let_key_go"], values)


def _parent_unknown(job_id: JobId, parent: JobId) -> Refused:
    return Refused(
        JobNotFound(
            f"parent {parent} of job {job_id} is not known: it was never enqueued, was deleted, "
            "or its retention is over"
        )
    )


def _values(entries: Sequence[Entry]) -> dict[str, Any]:
    requests = [entry.request for entry in entries]
    specs = [request.spec for request in requests]
    return {
        "id": arrays.uuids([request.id for request in requests]),
        "queue": arrays.bigints([entry.tag for entry in entries]),
        "task": arrays.texts([spec.task for spec in specs]),
        "priority": arrays.bigints([spec.priority for spec in specs]),
        "need": arrays.texts([spec.need for spec in specs]),
        "delay_ms": arrays.bigints([request.delay_ms for request in requests]),
        "due_at": arrays.bigints([request.due_at for request in requests]),
        "expires_ms": arrays.bigints([spec.expires_ms for spec in specs]),
        "result_ttl_ms": arrays.bigints([spec.result_ttl_ms for spec in specs]),
        "spec": arrays.byteas([entry.spec for entry in entries]),
        "parents_left": arrays.bigints([entry.parents_left for entry in entries]),
        "is_broken": arrays.bools([entry.is_broken for entry in entries]),
    }
