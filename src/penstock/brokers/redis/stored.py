"""What stands in the keys, as text: written by Python and Lua alike, read back here."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from penstock.core.ids import JobId, enqueued_at_of
from penstock.core.job import PRIORITY_DEFAULT, SHARED, AttemptRecord, JobSpec, Reason, StoredError
from penstock.core.lifecycle import State

_ERROR: Final = msgspec.json.Decoder(StoredError)
_ENCODE: Final = msgspec.json.encode
_STATES: Final = {
    b"c": State.COMPLETED,
    b"d": State.DEAD,
    b"x": State.CANCELLED,
    b"e": State.EXPIRED,
}


#: Head of a spec in which all that scripts read is as usual.
PLAIN: Final = b"."
#: Head of a stored spec: of one in which all is as usual, or with every part.
_HEAD: Final = re.compile(
    rb"\.(?P<plain>-?[0-9]{1,18});"
    rb"|[0-9]*;[0-9]*;[^;]*;[0-9]*;(?P<later>-?[0-9]{1,18});(?P<due>[0-9]{0,18});"
)
#: Instants are stored in six bytes.
_INSTANT_END: Final = 2**48
#: Characters of an id in hexadecimal before and after the tag of its queue.
_TAG: Final = slice(16, 20)


class Attempt(NamedTuple):
    """What a running or final job keeps of its last attempt."""

    claimed_at: int
    number: int
    pid: int
    worker: str


class End(NamedTuple):
    """How a job ended.

    Attributes:
        attempt: None: it ended while it waited.
        pid: where the user code ran; None: where it was claimed.
    """

    state: State
    finished_at: int
    reason: Reason | None
    attempt: Attempt | None
    pid: int | None = None
    outcome: str | None = None
    error: StoredError | None = None
    dropped: bool = False
    result: bytes | None = None


def head_of(spec: JobSpec) -> bytes:
    """Return the part of a stored spec that scripts read, up to the instant of enqueue.

    What is as usual is left out, all of it where possible: each byte is one for every job.
    """
    if (
        spec.result_ttl_ms is None
        and spec.priority == PRIORITY_DEFAULT
        and spec.need == SHARED
        and spec.expires_ms is None
    ):
        return PLAIN
    return full_head_of(spec)


def full_head_of(spec: JobSpec) -> bytes:
    """Return the same with every part in its place, which a due time can follow."""
    ttl = "" if spec.result_ttl_ms is None else spec.result_ttl_ms
    expires = "" if spec.expires_ms is None else spec.expires_ms
    priority = "" if spec.priority == PRIORITY_DEFAULT else spec.priority
    need = "" if spec.need == SHARED else spec.need
    return f"{ttl};{priority};{need};{expires};".encode()


def split_spec(job_id: JobId, stored: bytes) -> tuple[int, int | None, bytes]:
    """Return (instant of enqueue, due at, the spec as JSON) of a stored spec.

    Never raises on foreign bytes: a head that cannot be read counts as that of a usual job, as it
    does in `lua/job.lua`, and the spec as none.
    """
    made_at = enqueued_at_of(job_id)
    head = _HEAD.match(stored)
    if head is None:
        return made_at, None, b""
    due = head["due"]
    enqueued_at, due_at = made_at + int(head["plain"] or head["later"]), int(due) if due else None
    if not (0 <= enqueued_at < _INSTANT_END and (due_at or 0) < _INSTANT_END):
        return made_at, None, b""
    return enqueued_at, due_at, stored[head.end() :]


def json_of(stored: bytes) -> bytes:
    """Return the spec as JSON, empty where it cannot be read."""
    if stored[:1] == PLAIN:
        return stored.partition(b";")[2]
    parts = stored.split(b";", 6)
    return parts[6] if len(parts) == 7 else b""  # noqa: PLR2004 - the parts of a stored spec


def attempt_of(tail: bytes) -> Attempt | None:
    """Return the attempt that a tail tells of; None: there was none."""
    if not tail:
        return None
    number, _ttl, claimed_at, pid, worker = tail[1:].split(b";", 4)
    return Attempt(int(claimed_at), int(number), int(pid), worker.decode())


def blob_of(pid: int | None, outcome: str, error: bytes, *, dropped: bool, result: bytes) -> bytes:
    """Return what a settlement leaves behind, as scripts keep it."""
    head = f"{'' if pid is None else pid};{outcome};{int(dropped)};{len(error)};"
    return b"%b%b%b" % (head.encode(), error, result)


def end_of(done: bytes) -> End:
    """Return how a job ended."""
    head, _, blob = done.partition(b"\n")
    finished_at, reason, tail = head[1:].split(b";", 2)
    state = _STATES[done[:1]]
    attempt = attempt_of(tail)
    cause = Reason(reason.decode()) if reason else None
    if not blob:
        return End(state, int(finished_at), cause, attempt)
    pid, outcome, dropped, size, rest = blob.split(b";", 4)
    error, result = rest[: int(size)], rest[int(size) :]
    return End(
        state,
        int(finished_at),
        cause,
        attempt,
        int(pid) if pid else None,
        outcome.decode(),
        _ERROR.decode(error) if error else None,
        dropped == b"1",
        result or None,
    )


def error_text(error: StoredError | None) -> bytes:
    """Return an error as JSON, empty for none."""
    return b"" if error is None else _ENCODE(error)


def kept_attempt(packed: bytes) -> AttemptRecord:
    """Return an earlier attempt."""
    number, worker, pid, started_at, ended_at, outcome, error = msgspec.msgpack.decode(packed)
    return AttemptRecord(
        number,
        worker,
        pid,
        started_at,
        ended_at,
        outcome,
        _ERROR.decode(error) if error else None,
    )


def to_raw(hexadecimal: str) -> bytes:
    """Return an id, a fence or a lease as the 16 bytes that are stored."""
    return bytes.fromhex(hexadecimal)


def job_id_of(raw: bytes) -> JobId:
    """Return a stored id."""
    return JobId(raw.hex())


def tag_of(hexadecimal: str) -> str:
    """Return the tag of the queue that an id carries, in hexadecimal."""
    return hexadecimal[_TAG]


def to_short(hexadecimal: str) -> bytes:
    """Return an id as it stands in the keys of its queue: without the tag, 14 bytes."""
    return bytes.fromhex(hexadecimal[: _TAG.start] + hexadecimal[_TAG.stop :])


def whole_id(short: bytes, tag: str) -> JobId:
    """Return the id that stands without its tag in the keys of a queue."""
    text = short.hex()
    return JobId(text[: _TAG.start] + tag + text[_TAG.start :])
