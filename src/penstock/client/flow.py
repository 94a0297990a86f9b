"""What a client does, as generators that ask for broker calls and do none themselves.

Each flow yields a step, is sent its answer (or has its error thrown in), and returns its result.
`client.py` performs the steps, once by calling the sync broker and once by awaiting the async one:
one truth about retries, batches and waiting for both. Source: the sans-I/O idea of h11 (ADR-0002).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

import msgspec

from penstock.broker.requests import (
    BATCH_MAX,
    Accepted,
    CancelAnswer,
    Durability,
    EnqueueRequest,
    JobStatus,
    Refused,
)
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from penstock.core.lifecycle import FINAL, State
from penstock.errors import (
    BrokerError,
    JobCancelled,
    JobDead,
    JobExpired,
    JobNotFound,
    OutcomeUnknown,
    PenstockError,
    ResultGone,
    ResultTimeout,
    Unavailable,
    UsageError,
)

T = TypeVar("T")

#: Calls again after OutcomeUnknown, with the same ids: enough to cross a broken connection.
RETRIES_AFTER_UNKNOWN: Final = 2
#: Seconds after the first try in which such a call is made; a producer must learn of a broker that
#: is gone within 1 s (GOAL13).
RETRY_WINDOW_S: Final = 0.5
#: Seconds between two looks at a job: short at first for quick jobs, bounded for long ones, so
#: that a thousand waiters cost twenty thousand look-ups a second and not a million.
PAUSE_MIN_S: Final = 0.001
PAUSE_MAX_S: Final = 0.05
#: Each pause is longer than the one before by this factor: 1 ms to 50 ms within 0.3 s.
_PAUSE_GROWTH: Final = 1.2


class Register(msgspec.Struct, frozen=True):
    """Ask for the tags of queues; answered with name -> tag."""

    queues: Sequence[str]


class Send(msgspec.Struct, frozen=True):
    """Enqueue a batch; answered with one Accepted or Refused per job."""

    jobs: Sequence[EnqueueRequest]
    durability: Durability | None


class Peek(msgspec.Struct, frozen=True):
    """Look at one job; answered with its status, None if unknown."""

    id: JobId


class Get(msgspec.Struct, frozen=True):
    """Read one job whole; answered with its record, None if unknown."""

    id: JobId


class Cancel(msgspec.Struct, frozen=True):
    """Cancel one job; answered with what that did."""

    id: JobId


class Pause(msgspec.Struct, frozen=True):
    """Let time pass; answered with nothing."""

    seconds: float


Step = Register | Send | Peek | Get | Cancel | Pause
Flow = Generator[Step, Any, T]
Answers = Sequence[Accepted | Refused]


def tags(queues: Sequence[str], now_s: Callable[[], float]) -> Flow[Mapping[str, int]]:
    """Return the tags of queues; a lost answer is asked for again, for a short while.

    Raises:
        Unavailable: no answer came; no job was written.
    """
    ends = now_s() + RETRY_WINDOW_S
    lost: OutcomeUnknown | None = None
    for _try in range(1 + RETRIES_AFTER_UNKNOWN):
        try:
            answer: Mapping[str, int] = yield Register(queues)
        except OutcomeUnknown as error:
            lost = error
            if now_s() > ends:
                break
        else:
            return answer
    raise Unavailable(f"no job was written: {lost}") from lost


def send(
    jobs: Sequence[EnqueueRequest], durability: Durability | None, now_s: Callable[[], float]
) -> Flow[Answers]:
    """Enqueue one batch; after an unknown outcome ask again with the same ids, for a short while.

    Raises:
        OutcomeUnknown: the jobs may be stored, by the first try or a later one.
        Unavailable: the first try failed and wrote nothing.
    """
    ends = now_s() + RETRY_WINDOW_S
    try:
        answers: Answers = yield Send(jobs, durability)
    except OutcomeUnknown as error:
        return (yield from send_again(jobs, durability, error, ends, now_s))
    return answers


def send_again(
    jobs: Sequence[EnqueueRequest],
    durability: Durability | None,
    unknown: OutcomeUnknown,
    ends: float,
    now_s: Callable[[], float],
) -> Flow[Answers]:
    """Enqueue a batch whose outcome is unknown again, with the same ids, until `ends`.

    Raises:
        OutcomeUnknown: the jobs may be stored, by the first try or a later one.
    """
    answers: Answers
    for _retry in range(RETRIES_AFTER_UNKNOWN):
        if now_s() > ends:
            break
        try:
            answers = yield Send(jobs, durability)
        except BrokerError as error:
            # Even where this try wrote nothing, the first one may have.
            unknown.add_note(f"asked again with the same ids: {error}")
        else:
            return answers
    raise unknown


def send_all(
    jobs: Sequence[tuple[EnqueueRequest, Durability | None]], now_s: Callable[[], float]
) -> Flow[list[Accepted | PenstockError]]:
    """Enqueue any number of jobs in batches of `BATCH_MAX`, in order.

    Returns:
        For each job its acceptance, or why it was refused. Once a batch failed as a whole the
        later ones are not sent; their jobs are `Unavailable`.
    """
    outcomes: list[Accepted | PenstockError] = []
    failure: BrokerError | None = None
    for durability, batch in _batches(jobs):
        if failure is not None:
            outcomes += [Unavailable(f"not sent after: {failure}") for _job in batch]
            continue
        try:
            answers = yield from send(batch, durability, now_s)
        except UsageError as error:
            # Asked for what this broker does not give; says nothing about the other batches.
            outcomes += [error] * len(batch)
        except BrokerError as error:
            failure = error
            outcomes += [error] * len(batch)
        else:
            outcomes += [a.error if isinstance(a, Refused) else a for a in answers]
    return outcomes


def _batches(
    jobs: Sequence[tuple[EnqueueRequest, Durability | None]],
) -> Generator[tuple[Durability | None, list[EnqueueRequest]], None, None]:
    # Runs of one class, not groups over the whole list: parents must stay before their children.
    for durability, run in groupby(jobs, key=lambda job: job[1]):
        requests = [request for request, _ in run]
        for start in range(0, len(requests), BATCH_MAX):
            yield durability, requests[start : start + BATCH_MAX]


def wait(job_id: JobId, *, timeout_s: float | None, now_s: Callable[[], float]) -> Flow[JobStatus]:
    """Look at a job until it is final.

    Raises:
        JobNotFound: it is unknown.
        ResultTimeout: not final after `timeout_s`.
    """
    ends = None if timeout_s is None else now_s() + timeout_s
    pause_s = PAUSE_MIN_S
    while True:
        status: JobStatus | None = yield Peek(job_id)
        found = known(status, job_id)
        if found.state in FINAL:
            return found
        left_s = PAUSE_MAX_S if ends is None else ends - now_s()
        if left_s <= 0:
            raise ResultTimeout(
                f"job {job_id} is {found.state} after {timeout_s:g} s of waiting; it goes on, and "
                "asking again is safe"
            )
        yield Pause(min(pause_s, left_s))
        pause_s = min(pause_s * _PAUSE_GROWTH, PAUSE_MAX_S)


def result(
    job_id: JobId,
    *,
    read: Callable[[msgspec.Raw], Any],
    timeout_s: float | None,
    now_s: Callable[[], float],
) -> Flow[Any]:
    """Wait for a job and return its result as `read` gives it.

    Raises:
        ResultError: the job ended otherwise, or its result is gone; see `Job.result`.
    """
    status = yield from wait(job_id, timeout_s=timeout_s, now_s=now_s)
    return result_of(status, read)


def state(job_id: JobId) -> Flow[State]:
    """Return the state of a job. Raises JobNotFound."""
    status: JobStatus | None = yield Peek(job_id)
    return known(status, job_id).state


def record(job_id: JobId) -> Flow[JobRecord]:
    """Return all that is known of a job. Raises JobNotFound."""
    found: JobRecord | None = yield Get(job_id)
    return known(found, job_id)


def cancel(job_id: JobId) -> Flow[CancelAnswer]:
    """Cancel a job. Raises JobNotFound."""
    answer: CancelAnswer = yield Cancel(job_id)
    return known(None if answer is CancelAnswer.NOT_FOUND else answer, job_id)


def known(answer: T | None, job_id: JobId) -> T:
    """Return the answer about a job that must be there.

    Raises:
        JobNotFound: it is not.
    """
    if answer is None:
        raise JobNotFound(
            f"job {job_id} is unknown: it was never enqueued here, was deleted, or its retention "
            "is over"
        )
    return answer


def result_of(status: JobStatus, read: Callable[[msgspec.Raw], Any]) -> Any:
    """Return the result of a final job.

    Raises:
        JobDead, JobCancelled, JobExpired, ResultGone: there is none.
    """
    if status.state is State.COMPLETED:
        if status.result_dropped:
            raise ResultGone(f"job {status.id} completed, but its result is no longer kept")
        return None if status.result is None else read(status.result)
    reason = "" if status.reason is None else str(status.reason)
    if status.state is State.CANCELLED:
        raise JobCancelled(
            f"job {status.id} was cancelled ({reason})", job_id=status.id, reason=reason
        )
    if status.state is State.EXPIRED:
        raise JobExpired(f"job {status.id} expired while it waited")
    error = status.error
    message = f"job {status.id} ended dead ({reason})"
    if error is None:
        raise JobDead(message, job_id=status.id, reason=reason, error=None)
    text = error.traceback or f"{error.kind}: {error.message}"
    raise JobDead(
        f"{message}: {error.kind}: {error.message}", job_id=status.id, reason=reason, error=text
    )
