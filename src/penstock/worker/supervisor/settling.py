"""Settlements that the supervisor makes: of its children's jobs, and of those it took over."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from penstock.broker.requests import BATCH_MAX
from penstock.core.decision import decide
from penstock.core.ids import JobId
from penstock.core.job import Claimed, JobRecord, Reason
from penstock.core.outcome import Outcome, outcome_name
from penstock.core.settlement import Applied, Bury, Settlement
from penstock.core.usage import Usage
from penstock.telemetry.logs import fields_of
from penstock.worker.dead_notices import DeadNotices
from penstock.worker.error_text import stored_error
from penstock.worker.repeats import Tries, find_out

from .link import BrokerLink
from .task_facts import Tasks

_log = logging.getLogger("penstock.worker")


class Verdict(NamedTuple):
    """How one attempt ended.

    Attributes:
        pid: process in which the user code ran; None: the process that claimed.
        usage: what it was measured to take; None: it was not.
    """

    job: Claimed
    outcome: Outcome
    pid: int | None = None
    usage: Usage | None = None


Carry = Callable[[Sequence[Settlement]], Awaitable[Sequence[Applied]]]
"""Makes one call that settles; what else it does in the same call is its own affair."""

_Settled = tuple[Verdict, Settlement, Applied]
"""An attempt, what was decided about it, and what became of that."""


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

    async def settle(self, verdicts: Sequence[Verdict], carry: Carry | None = None) -> None:
        """Settle every attempt; return once the broker has written or refused each.

        Nothing is given up while the broker is away: the fence says in the end whether the
        settlement still counts, and a stale one is only told in the log.

        Args:
            verdicts: what has ended, each job once.
            carry: makes the calls of whole batches; None: the broker's `settle` does.
        """
        carry = carry or self._link.broker.settle
        for part in _batches(verdicts):
            tries = Tries()
            try:
                settlements = [self._decide(one) for one in part]
                answers = await self._write(settlements, tries, carry)
                settled = list(zip(part, settlements, answers, strict=True))
            except Exception:  # noqa: BLE001 - one that cannot be settled must not strand the rest
                _log.exception("%d settlements are refused; each is made by itself", len(part))
                settled = [one for each in part for one in await self._settle_alone(each, tries)]
            if tries.is_unknown:
                settled = await self._find_out(settled)
            self._link.reminder.keep(
                [settlement for _, settlement, _ in settled], [answer for _, _, answer in settled]
            )
            self.settled += len(settled)
            for verdict, settlement, answer in settled:
                _tell(verdict, settlement, answer)
            await self._notices.send((one.job, what, answer) for one, what, answer in settled)

    async def _write(
        self, settlements: Sequence[Settlement], tries: Tries, carry: Carry
    ) -> Sequence[Applied]:
        return await self._link.insist(
            lambda: tries.make(carry(settlements)),
            what=f"settling {len(settlements)} jobs",
        )

    async def _find_out(self, settled: Sequence[_Settled]) -> list[_Settled]:
        applied = await find_out(
            [(one.job, settlement, answer) for one, settlement, answer in settled], self._read
        )
        return [
            (one, settlement, answer)
            for (one, settlement, _), answer in zip(settled, applied, strict=True)
        ]

    async def _read(self, job_id: JobId) -> JobRecord | None:
        return await self._link.insist(
            partial(self._link.broker.get, job_id), what=f"reading job {job_id}"
        )

    async def _settle_alone(self, verdict: Verdict, tries: Tries) -> list[_Settled]:
        """Settle one attempt; bury its job if that fails; empty if even that cannot be written.

        A job that is left running under the supervisor's own lease would be left so for ever.
        """
        settlement: Settlement
        settle = self._link.broker.settle
        try:
            settlement = self._decide(verdict)
            return [(verdict, settlement, (await self._write([settlement], tries, settle))[0])]
        except Exception as error:  # noqa: BLE001 - the same
            _log.exception("job %s cannot be settled and is buried", verdict.job.id)
            settlement = _buried(verdict, error)
        try:
            return [(verdict, settlement, (await self._write([settlement], tries, settle))[0])]
        except Exception:  # noqa: BLE001 - the same
            _log.exception("job %s cannot be buried", verdict.job.id)
            return []

    def _decide(self, verdict: Verdict) -> Settlement:
        return decide(
            verdict.job,
            verdict.outcome,
            policy=self._tasks.policy(verdict.job.spec.task),
            random_unit=random.random(),
            pid=verdict.pid,
            usage=verdict.usage,
        )


def _buried(verdict: Verdict, error: Exception) -> Bury:
    job = verdict.job
    return Bury(
        id=job.id,
        fence=job.fence,
        outcome=outcome_name(verdict.outcome),
        pid=verdict.pid,
        error=stored_error(error),
        reason=Reason.RESULT_REFUSED,
        charges=job.charges,
    )


def _batches(verdicts: Sequence[Verdict]) -> Iterator[Sequence[Verdict]]:
    for start in range(0, len(verdicts), BATCH_MAX):
        yield verdicts[start : start + BATCH_MAX]


def _tell(verdict: Verdict, settlement: Settlement, answer: Applied) -> None:
    job = verdict.job
    outcome = outcome_name(verdict.outcome)
    quiet = outcome == "succeeded" and answer is Applied.APPLIED
    level = logging.DEBUG if quiet else logging.INFO
    if not _log.isEnabledFor(level):
        return
    error = settlement.error
    became = str(settlement.__struct_config__.tag) if answer is Applied.APPLIED else str(answer)
    _log.log(
        level,
        "job %s (%s, attempt %d): %s -> %s%s",
        job.id,
        job.spec.task or "unreadable",
        job.claim_number,
        outcome,
        became,
        "" if error is None else f": {error.kind}: {error.message}",
        extra={**fields_of(job), "outcome": outcome},
    )
