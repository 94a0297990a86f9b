"""Job ids: time-ordered, and they carry their queue.

Layout of the 128 bits, written as 32 hexadecimal digits so that text order is time order:

    48 bits  milliseconds since 1970, of the enqueueing process
    16 bits  sequence within that process and millisecond
    16 bits  queue tag, a small number that the broker gave the queue's name (`register`)
    48 bits  random

Status by id is one look-up: the tag names the queue, so no index over all queues is needed.
Source: UUIDv7's idea (RFC 9562) with a queue tag in the place of version bits; ADR-0007.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from penstock.errors import BadSetting

JobId = NewType("JobId", str)
Fence = NewType("Fence", str)
"""128 random bits as 32 hexadecimal digits, drawn once per claim call."""
LeaseId = NewType("LeaseId", str)
"""128 random bits as 32 hexadecimal digits, drawn once per runner incarnation."""
AttemptKey = tuple[JobId, Fence]
"""Names one attempt: the same job may run twice in a runner, once under a lost lease."""

#: Tags 1..65535; 0 means "no queue" and is never given out.
QUEUE_TAG_MAX: Final = 0xFFFF
_SEQUENCE_MAX: Final = 0xFFFF
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}\Z")


def make_job_id(at_ms: int, sequence: int, queue_tag: int, random_48: int) -> JobId:
    """Build an id from its four parts; `sequence` must be under 65,536."""
    return JobId(f"{(at_ms << 80) | (sequence << 64) | (queue_tag << 48) | random_48:032x}")


def queue_tag_of(job_id: JobId) -> int:
    """Return the tag of the queue that `job_id` belongs to."""
    return int(job_id[16:20], 16)


def enqueued_at_of(job_id: JobId) -> int:
    """Return the instant at which `job_id` was made, in milliseconds since 1970."""
    return int(job_id[:12], 16)


def check_job_id(value: object) -> JobId:
    """Return `value` if it is a job id.

    Raises:
        BadSetting: it is not 32 hexadecimal digits.
    """
    if not isinstance(value, str) or not _JOB_ID.match(value):
        message = f"job id {value!r:.80} is not allowed: a job id is 32 hexadecimal digits"
        raise BadSetting(message)
    return JobId(value)


class JobIdSource:
    """Draws ids that rise within one process.

    Not thread-safe by itself: callers hold their own lock or own one source each.
    """

    __slots__ = ("_last_ms", "_sequence")

    def __init__(self) -> None:
        """Start with nothing drawn."""
        self._last_ms = 0
        self._sequence = 0

    def draw(self, now_ms: int, queue_tag: int, random_48: int) -> JobId:
        """Return the next id; it is greater than every earlier one, even if the clock fell back."""
        if now_ms > self._last_ms:
            self._last_ms, self._sequence = now_ms, 0
        elif self._sequence < _SEQUENCE_MAX:
            self._sequence += 1
        else:
            self._last_ms, self._sequence = self._last_ms + 1, 0
        return make_job_id(self._last_ms, self._sequence, queue_tag, random_48)
