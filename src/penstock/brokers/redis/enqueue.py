"""enqueue: store jobs; the words that `lua/enqueue.lua` reads, and its answers. Transitions there.

transitions: see lua/enqueue.lua.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.broker.stored import write_spec
from penstock.core.ids import JobId
from penstock.core.job import JobSpec
from penstock.core.lifecycle import State
from penstock.errors import DuplicateKey, JobNotFound, PayloadTooLarge

from .stored import full_head_of, head_of, job_id_of, to_raw, to_short
from .wire import Word


class Words(NamedTuple):
    """The arguments of the script, and how its answer is read.

    Attributes:
        sections: where the jobs of each section stand in the batch, in the order of sending.
        is_plain: no job needs more than the quick script can do.
    """

    words: list[Word]
    sections: list[list[int]]
    is_plain: bool


class _Text(NamedTuple):
    """A job's place in the batch, and its spec as JSON."""

    place: int
    spec: JobSpec
    json: bytes


_Kind = tuple[str, int, str, int | None, int | None]
"""What jobs of one plain section have in common."""


def words_of(
    jobs: Sequence[EnqueueRequest], tags: Mapping[str, int], payload_bytes_max: int
) -> Words:
    """Return the arguments of the script: jobs that differ in their payload alone go together."""
    if len(jobs) == 1 and (kind := _kind_of(jobs[0])) is not None:
        # The common case, written out.
        json = write_spec(jobs[0].spec)
        if len(json) <= payload_bytes_max:
            return _words_of_one(jobs[0], kind, json, tags[kind[0]])
    queues = {job.queue for job in jobs}
    words: list[Word] = [len(queues)]
    for queue in queues:
        words += (tags[queue].to_bytes(2), queue)
    count = len(words)
    words.append(0)
    sections: list[list[int]] = []
    is_plain = True
    plain: dict[_Kind, dict[JobId, _Text]] = {}
    for place, job in enumerate(jobs):
        spec = job.spec
        json = write_spec(spec)
        kind = _kind_of(job)
        # The spec holds the payload, so that only the payload of a long spec need be measured.
        too_large = len(json) > payload_bytes_max and _payload_bytes(job) > payload_bytes_max
        if (
            kind is not None
            and not too_large
            and job.id not in (same := plain.setdefault(kind, {}))
        ):
            same[job.id] = _Text(place, spec, json)
            continue
        # Parents and keys may stand earlier in the same batch.
        sections += _put_plain(words, plain, tags)
        plain = {}
        is_plain = False
        words += ("special", *_special(job, b"" if too_large else json, too_large=too_large))
        sections.append([place])
    sections += _put_plain(words, plain, tags)
    words[count] = len(sections)
    return Words(words, sections, is_plain)


def _words_of_one(job: EnqueueRequest, kind: _Kind, json: bytes, tag: int) -> Words:
    queue, priority, need, expires_ms, _ = kind
    raw_tag, head = tag.to_bytes(2), head_of(job.spec)
    expires = "" if expires_ms is None else expires_ms
    section: tuple[Word, ...] = ("plain", raw_tag, head, priority, need, expires)
    words: list[Word] = [1, raw_tag, queue, 1, *section, 1, to_short(job.id), json]
    return Words(words, [[0]], is_plain=True)


def _kind_of(job: EnqueueRequest) -> _Kind | None:
    """Return what a plain job has in common with others; None: it is no plain one."""
    spec = job.spec
    if job.delay_ms is not None or job.due_at is not None or job.parents or spec.key is not None:
        return None
    return job.queue, spec.priority, spec.need, spec.expires_ms, spec.result_ttl_ms


def _put_plain(
    words: list[Word], plain: Mapping[_Kind, Mapping[JobId, _Text]], tags: Mapping[str, int]
) -> Iterator[list[int]]:
    """Add plain sections to the words, and return the places of each."""
    for kind, texts in plain.items():
        # The script puts them into an ordered index.
        rising = sorted(texts)
        spec = texts[rising[0]].spec
        words += ("plain", tags[kind[0]].to_bytes(2), head_of(spec), spec.priority, spec.need)
        words += ("" if spec.expires_ms is None else spec.expires_ms, len(rising))
        for job_id in rising:
            words += (to_short(job_id), texts[job_id].json)
        yield [texts[job_id].place for job_id in rising]


def _special(job: EnqueueRequest, json: bytes, *, too_large: bool) -> tuple[Word, ...]:
    """Return everything about one job."""
    spec = job.spec
    parents = b"".join(
        to_raw(parent.id) + (b"1" if parent.ignore_failure else b"0") for parent in job.parents
    )
    key = "" if job.spec.key is None else f"{job.spec.task}\0{job.spec.key}"
    # None and "" are different digests: neither equals a digest that starts with a letter.
    digest = "" if job.key_digest is None else f"d{job.key_digest}"
    return (
        to_raw(job.id),
        full_head_of(spec),
        json,
        spec.priority,
        spec.need,
        "" if job.delay_ms is None else job.delay_ms,
        "" if job.due_at is None else job.due_at,
        "" if spec.expires_ms is None else spec.expires_ms,
        int(too_large),
        parents,
        key,
        digest,
        job.key_ttl_ms,
    )


def _payload_bytes(job: EnqueueRequest) -> int:
    return len(bytes(job.spec.payload))


def answers_of(
    jobs: Sequence[EnqueueRequest],
    asked: Words,
    answers: Sequence[int | Sequence[bytes]],
    given: Durability,
    payload_bytes_max: int,
) -> list[Accepted | Refused]:
    """Return the answer for each job, in the order in which they were asked for."""
    if len(asked.sections) == 1 and answers[0] == 1:
        return [Accepted(job.id, State.QUEUED, given) for job in jobs]
    texts = [b"queued"] * len(jobs)
    for section, found in zip(asked.sections, answers, strict=True):
        if not isinstance(found, int):
            for place, text in zip(section, found, strict=True):
                texts[place] = text
    return [
        _answer_of(job, text, given, payload_bytes_max)
        for job, text in zip(jobs, texts, strict=True)
    ]


def _answer_of(
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
