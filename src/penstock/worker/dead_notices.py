"""Enqueues the `on_dead` jobs of buried ones, after the burial is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from penstock.broker.protocol import AsyncBroker
from penstock.broker.requests import EnqueueRequest, Refused
from penstock.core.manifest import TaskFacts
from penstock.core.settlement import Applied, Bury
from penstock.errors import OutcomeUnknown, PenstockError, Unavailable
from penstock.tasks.on_dead import on_dead_request, on_dead_target
from penstock.worker.pulse import retry_wait_s
from penstock.worker.repeats import Settled

_log = logging.getLogger("penstock.worker")


class DeadNotices:
    """Sends them until the broker has answered; each has the same id every time.

    Args:
        broker: where the jobs were buried.
        find: the facts of a task by name or alias.
    """

    def __init__(self, broker: AsyncBroker, find: Callable[[str], TaskFacts | None]) -> None:
        self._broker = broker
        self._find = find

    async def send(self, settled: Iterable[Settled]) -> None:
        """Enqueue what is asked for; nothing happens, and nothing is asked, where there is none.

        Args:
            settled: at most `BATCH_MAX`.
        """
        wanted = [
            (job, settlement, target)
            for job, settlement, applied in settled
            if type(settlement) is Bury
            and applied is Applied.APPLIED
            and (target := on_dead_target(job, settlement, self._find)) is not None
        ]
        failures = 0
        while wanted:
            try:
                tags = await self._broker.register([target.queue for _, _, target in wanted])
                await self._enqueue(
                    [on_dead_request(job, bury, target, tags) for job, bury, target in wanted]
                )
            except (Unavailable, OutcomeUnknown):
                failures += 1
                await asyncio.sleep(retry_wait_s(failures))
            except PenstockError:
                _log.exception("%d on_dead jobs are refused by the broker", len(wanted))
                return
            else:
                return

    async def _enqueue(self, requests: list[EnqueueRequest]) -> None:
        answers = await self._broker.enqueue(requests)
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Refused):
                _log.error("on_dead job of %s is refused: %s", request.spec.task, answer.error)
