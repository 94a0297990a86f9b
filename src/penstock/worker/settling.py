"""Settlements that the supervisor makes: of its children's jobs, and of those it took over."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from penstock.broker.requests import BATCH_MAX
from penstock.core.decision import decide
from penstock.core.job import Claimed
from penstock.core.outcome import Outcome, outcome_name
from penstock.core.settlement import Applied, Settlement

from .dead_notices import DeadNotices
from .link import BrokerLink
from .task_facts import Tasks

_log = logging.getLogger("penstock.worker")


class Verdict(NamedTuple):
    """How one attempt ended.

    Attributes:
        pid: process in which the user code ran; None: the process that claimed.
    """

    job: Claimed
    outcome: Outcome
    pid: int | None = None


class Settler:
    """Decides what follows from an outcome, and writes it until the broker has answered.

    Attributes:
        settled: attempts since the start, those taken over from the dead included.
    """

    def __init__(self, link: BrokerLink, tasks: Tasks) -> None:
        """Write over `link`, under the policies of `tasks`."""
        self._link = link
        self._tasks = tasks
        self._notices = DeadNotices(link.broker, tasks.find)
        self.settled = 0

    async def settle(self, verdicts: Sequence[Verdict]) -> None:
        """Settle every attempt; return once the broker has written or refused each.

        Nothing is given up while the broker is away: the fence says in the end whether the
        settlement still counts, and a stale one is only told in the log.
        """
        for part in _batches(verdicts):
            settlements = [self._decide(one) for one in part]
            applied = await self._link.insist(
                partial(self._link.broker.settle, settlements),
                what=f"settling {len(settlements)} jobs",
            )
            self.settled += len(part)
            for verdict, settlement, answer in zip(part, settlements, applied, strict=True):
                _tell(verdict, settlement, answer)
            jobs = [verdict.job for verdict in part]
            await self._notices.send(zip(jobs, settlements, applied, strict=True))

    def _decide(self, verdict: Verdict) -> Settlement:
        return decide(
            verdict.job,
            verdict.outcome,
            policy=self._tasks.policy(verdict.job.spec.task),
            random_unit=random.random(),
            pid=verdict.pid,
        )


def _batches(verdicts: Sequence[Verdict]) -> Iterator[Sequence[Verdict]]:
    for start in range(0, len(verdicts), BATCH_MAX):
        yield verdicts[start : start + BATCH_MAX]


def _tell(verdict: Verdict, settlement: Settlement, answer: Applied) -> None:
    job = verdict.job
    outcome = outcome_name(verdict.outcome)
    became = str(settlement.__struct_config__.tag) if answer is Applied.APPLIED else str(answer)
    quiet = outcome == "succeeded" and answer is Applied.APPLIED
    _log.log(
        logging.DEBUG if quiet else logging.INFO,
        "job %s (%s, attempt %d): %s -> %s",
        job.id,
        job.spec.task or "unreadable",
        job.claim_number,
        outcome,
        became,
        extra={
            "job": job.id,
            "task": job.spec.task,
            "queue": job.queue,
            "attempt": job.claim_number,
            "outcome": outcome,
        },
    )
