"""enqueue: store jobs; the words that `lua/enqueue.lua` reads, and its answers. Transitions there.

transitions: see lua/enqueue.lua.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.broker.stored import write_spec
from penstock.core.lifecycle import State
from penstock.errors import DuplicateKey, JobNotFound, PayloadTooLarge

from .server import Word
from .stored import head_of, job_id_of, to_raw


def words_of(
    jobs: Sequence[EnqueueRequest], tags: Mapping[str, int], payload_bytes_max: int
) -> list[Word]:
    """Return the arguments of the script."""
    queues = {job.queue for job in jobs}
    words: list[Word] = [len(queues)]
    for queue in queues:
        words += (tags[queue], queue)
    words.append(len(jobs))
    for job in jobs:
        spec = job.spec
        json = write_spec(spec)
        # The spec holds the payload, so that only the payload of a long spec need be measured.
        too_large = len(json) > payload_bytes_max and _payload_bytes(job) > payload_bytes_max
        words += (
            to_raw(job.id),
            head_of(spec),
            b"" if too_large else json,
            spec.priority,
            spec.need,
            "" if job.delay_ms is None else job.delay_ms,
            "" if job.due_at is None else job.due_at,
            "" if spec.expires_ms is None else spec.expires_ms,
        )
        if too_large or job.parents or spec.key is not None:
            words += ("large" if too_large else "special", *_special(job))
        else:
            words.append("")
    return words


def _special(job: EnqueueRequest) -> tuple[Word, ...]:
    """Return parents, key, digest, and the window of the key."""
    parents = b"".join(
        to_raw(parent.id) + (b"1" if parent.ignore_failure else b"0") for parent in job.parents
    )
    key = "" if job.spec.key is None else f"{job.spec.task}\0{job.spec.key}"
    # None and "" are different digests: neither equals a digest that starts with a letter.
    digest = "" if job.key_digest is None else f"d{job.key_digest}"
    return (parents, key, digest, job.key_ttl_ms)


def _payload_bytes(job: EnqueueRequest) -> int:
    return len(bytes(job.spec.payload))


def answer_of(
    job: EnqueueRequest, text: bytes, given: Durability, payload_bytes_max: int
) -> Accepted | Refused:
    """Return the answer for one job."""
    word, _, rest = text.partition(b" ")
    if word == b"known":
        state, _, holder = rest.partition(b" ")
        return Accepted(job_id_of(holder), State(state.decode()), given, duplicate=True)
    if word == b"key":
        holder_id = job_id_of(rest)
        return Refused(
            DuplicateKey(
                f"key {job.spec.key!r} of task {job.spec.task} belongs to job {holder_id}, which "
                "has other arguments: use another key, or wait until its window ends",
                job_id=holder_id,
            )
        )
    if word == b"parent":
        return Refused(
            JobNotFound(
                f"parent {job_id_of(rest)} of job {job.id} is not known: it was never enqueued, "
                "was deleted, or its retention is over"
            )
        )
    if word == b"large":
        return Refused(
            PayloadTooLarge(
                f"payload of job {job.id} has {_payload_bytes(job)} bytes, {payload_bytes_max} are "
                "allowed: store it elsewhere and pass its address"
            )
        )
    return Accepted(job.id, State(word.decode()), given)
