"""What a child may ask its supervisor for: notes on its job, enqueues, and tags of queues."""

from __future__ import annotations

import logging
from functools import partial

import msgspec

from penstock.broker.requests import BATCH_MAX, Accepted, Note, Refused
from penstock.core.job import Claimed
from penstock.errors import DuplicateKey, OutcomeUnknown, PenstockError
from penstock.serializers.sealing import Seal
from penstock.worker.asks import Answer, Ask, AskRefusal
from penstock.worker.wire import Noted

from .link import BrokerLink

_log = logging.getLogger("penstock.worker")


class ChildCalls:
    """Calls the broker for a child, which has no credentials of its own."""

    def __init__(self, link: BrokerLink, seal: Seal) -> None:
        """Call over `link`; `seal` seals the secret arguments of what a child enqueues."""
        self._link = link
        self._seal = seal

    async def note(self, job: Claimed, noted: Noted) -> bool:
        """Write progress, checkpoint and log lines; False: the job belongs to another worker now.

        A checkpoint must not get lost, so this waits for the broker; the attempt's limits are kept
        meanwhile.
        """
        note = Note(
            id=job.id,
            fence=job.fence,
            progress=None if noted.progress is msgspec.UNSET else noted.progress,
            checkpoint=None if noted.checkpoint is msgspec.UNSET else noted.checkpoint,
            log=noted.log,
        )
        (is_written,) = await self._link.insist(
            partial(self._link.broker.note, (note,)), what=f"noting job {job.id}"
        )
        return is_written

    async def answer(self, ask: Ask) -> Answer:
        """Answer one question; what the broker refuses is told, never raised."""
        try:
            if ask.queues:
                tags = await self._link.ask(self._link.broker.register(ask.queues))
                return Answer(ask.number, tags=dict(tags))
            return Answer(ask.number, jobs=await self._enqueue(ask))
        except PenstockError as error:
            return Answer(ask.number, failure=_refusal(error))
        except Exception as error:  # noqa: BLE001 - a child that gets no answer waits for ever
            _log.exception("a child's question could not be answered")
            text = f"the worker could not ask the broker ({type(error).__name__}: {error})"
            return Answer(ask.number, failure=AskRefusal(OutcomeUnknown.__name__, text))

    async def _enqueue(self, ask: Ask) -> tuple[Accepted | AskRefusal, ...]:
        answers: list[Accepted | AskRefusal] = []
        for start in range(0, len(ask.jobs), BATCH_MAX):
            part = [self._seal.seal_open(job) for job in ask.jobs[start : start + BATCH_MAX]]
            told = await self._link.ask(self._link.broker.enqueue(part, durability=ask.durability))
            answers += (_refusal(one.error) if isinstance(one, Refused) else one for one in told)
        return tuple(answers)


def _refusal(error: PenstockError) -> AskRefusal:
    job_id = error.job_id if isinstance(error, DuplicateKey) else None
    return AskRefusal(type(error).__name__, str(error), job_id=job_id)
