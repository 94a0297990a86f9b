"""What became of a settlement whose answer was lost.

A repeat is told STALE in two cases: its own first try was written and left the fence behind, or it
was not, and another attempt has the job now. Only the job's record tells them apart. Supervisor
and runner ask it in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from penstock.core.ids import JobId
from penstock.core.job import Claimed, JobRecord
from penstock.core.lifecycle import State
from penstock.core.settlement import Applied, Bury, Settlement
from penstock.errors import OutcomeUnknown

T = TypeVar("T")

_log = logging.getLogger("penstock.worker")

Settled = tuple[Claimed, Settlement, Applied]
"""A job, what was decided about it, and what became of that."""

Read = Callable[[JobId], Awaitable[JobRecord | None]]
"""Returns what is known of a job, once the broker has answered."""


class Tries:
    """The tries of one batch of settlements.

    Attributes:
        is_unknown: of one of them it is not known whether it was written.
        failures: how many were made in vain, for the wait before the next.
    """

    def __init__(self) -> None:
        """Nothing was tried yet."""
        self.is_unknown = False
        self.failures = 0

    async def make(self, call: Awaitable[T]) -> T:
        """Await one try, a call that settles and nothing that is written before it.

        Raises:
            OutcomeUnknown: as the call does, and noted.
        """
        try:
            return await call
        except OutcomeUnknown:
            self.is_unknown = True
            raise


async def find_out(settled: Sequence[Settled], read: Read) -> list[Applied]:
    """Return what became of settlements of which a try is unknown.

    One that was written counts as applied, though its repeat is told STALE. A job that is not
    there any more, or whose record cannot be read, counts as the broker said.

    Args:
        settled: what the broker said of the last try.
        read: made once per stale settlement, and not for others.
    """
    return [
        answer
        if answer is not Applied.STALE or not await _was_written(job, settlement, read)
        else Applied.APPLIED
        for job, settlement, answer in settled
    ]


async def _was_written(job: Claimed, settlement: Settlement, read: Read) -> bool:
    try:
        record = await read(job.id)
    except Exception:  # noqa: BLE001 - one that cannot be read must not strand the others
        _log.exception("job %s: what became of its settlement cannot be read", job.id)
        return False
    return record is not None and _shows(record, job, settlement)


def _shows(record: JobRecord, job: Claimed, settlement: Settlement) -> bool:
    """Whether a job's record shows that this settlement ended this attempt.

    Claim number and instant name the claim, and with it its worker. Who takes the job over ends
    the same attempt, but with an outcome or an error of its own.
    """
    # Fence: nothing is written by what is read here; it only tells what has been written.
    if isinstance(settlement, Bury) and (record.state, record.reason) != (
        State.DEAD,
        settlement.reason,
    ):
        # Two reapers may judge alike and, under other policies, decide otherwise.
        return False
    return any(
        one.ended_at is not None
        and (one.number, one.started_at) == (job.claim_number, job.claimed_at)
        and (one.outcome, one.error) == (settlement.outcome, settlement.error)
        for one in record.attempts
    )
