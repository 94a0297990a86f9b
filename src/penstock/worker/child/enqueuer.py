"""The broker as a child sees it: questions to the supervisor, which asks the real one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from penstock import errors
from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.errors import BrokerError, DuplicateKey, OutcomeUnknown, PenstockError, QueueFull
from penstock.worker.asks import Answer, Ask, AskRefusal
from penstock.worker.pipe import Pipe
from penstock.worker.wire import ToChild

#: Bytes of payloads in one question: a quarter of the largest frame.
_ASK_BYTES_MAX: Final = 8 * 2**20
#: Seconds after which a refusal for want of room may be tried again; the wire does not tell them.
_RETRY_AFTER_S: Final = 1.0


class PipeEnqueuer:
    """An `Enqueuer` that asks over a pipe. For any thread of the process.

    Args:
        pipe: to the supervisor; the calling thread is the one that reads it.
        tags: tags of the queues known so far.
    """

    def __init__(self, pipe: Pipe[ToChild], tags: Mapping[str, int]) -> None:
        self._pipe = pipe
        self._tags = dict(tags)
        self._numbers = itertools.count(1)
        self._open: dict[int, Future[Answer]] = {}
        self._reader = threading.get_ident()

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue, giving one to names not seen before."""
        new = tuple(queue for queue in queues if queue not in self._tags)
        if new:
            self._tags.update(self._ask(Ask(next(self._numbers), queues=new)).tags)
        return {queue: self._tags[queue] for queue in queues}

    def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Store jobs; a large batch is asked for in parts.

        Raises:
            OutcomeUnknown: a part failed after another one was stored.
        """
        answers: list[Accepted | Refused] = []
        for part in _parts(jobs):
            try:
                ask = Ask(next(self._numbers), jobs=part, durability=durability)
                told = self._ask(ask).jobs
            except BrokerError as error:
                if not answers:
                    raise
                raise OutcomeUnknown(
                    f"{len(answers)} of {len(jobs)} jobs were answered for, then: {error}"
                ) from error
            answers += (one if isinstance(one, Accepted) else _refused(one) for one in told)
        return answers

    def take_in(self, answer: Answer) -> None:
        """Pass on an answer that has come over the pipe."""
        waiting = self._open.pop(answer.number, None)
        if waiting is not None:
            waiting.set_result(answer)

    def _ask(self, ask: Ask) -> Answer:
        waiting: Future[Answer] = Future()
        self._open[ask.number] = waiting
        try:
            self._pipe.send(ask)
            if threading.get_ident() == self._reader:
                # A plain call inside a coroutine: nobody else could read the answer meanwhile.
                while not waiting.done():
                    self._pipe.read_on()
            answer = waiting.result()
        finally:
            self._open.pop(ask.number, None)
        if answer.failure is not None:
            raise _error(answer.failure)
        return answer


def _parts(jobs: Sequence[EnqueueRequest]) -> Iterator[tuple[EnqueueRequest, ...]]:
    part: list[EnqueueRequest] = []
    size = 0
    for job in jobs:
        bytes_more = len(memoryview(job.spec.payload))
        if part and size + bytes_more > _ASK_BYTES_MAX:
            yield tuple(part)
            part, size = [], 0
        part.append(job)
        size += bytes_more
    if part:
        yield tuple(part)


def _refused(refusal: AskRefusal) -> Refused:
    error = _error(refusal)
    return Refused(error if isinstance(error, BrokerError) else BrokerError(str(error)))


def _error(refusal: AskRefusal) -> PenstockError:
    """Return the error that a refusal names; the name is looked up, never imported (SEC13)."""
    kind = getattr(errors, refusal.kind, None)
    if kind is DuplicateKey:
        return DuplicateKey(refusal.message, job_id=refusal.job_id or "")
    if kind is QueueFull:
        return QueueFull(refusal.message, retry_after_s=_RETRY_AFTER_S)
    if isinstance(kind, type) and issubclass(kind, PenstockError):
        return kind(refusal.message)
    return BrokerError(f"{refusal.kind}: {refusal.message}")
