"""Makes the calls of a round until the broker has answered. What has ended is never given up.

A settlement may be repeated: its fence lets it be applied once at most, and `worker.repeats` finds
out what became of one whose repeat is stale. A claim whose outcome is unknown is repeated under its
own fence and answers with the jobs that it took, which would else stay running under a live lease
for ever. A claim that was refused for certain took nothing: it is given up when nobody wants its
jobs any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from penstock.broker.protocol import AsyncBroker
from penstock.broker.requests import ClaimAnswer, ClaimRequest
from penstock.core import settlement as s
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import NO_CHARGES, JobRecord, Reason
from penstock.core.settlement import Applied, Settlement
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.error_text import stored_error
from penstock.worker.pulse import Bell, retry_wait_s
from penstock.worker.reminder import Reminder
from penstock.worker.repeats import Tries

_log = logging.getLogger("penstock.runner")


class Answers(NamedTuple):
    """What a round came to.

    Attributes:
        settlements: as made: one that the broker refused is a burial now.
        applied: what became of each.
        claimed: the claim's answer, None where there is none.
        is_doubtful: a stale settlement may be one that an earlier try has written.
    """

    settlements: Sequence[Settlement]
    applied: Sequence[Applied]
    claimed: ClaimAnswer | None
    is_doubtful: bool


class Carrier:
    """The calls on the broker.

    Args:
        broker: settled with and claimed from.
        is_current: whether a lease is still the runner's.
        reminder: makes settlements again that the broker may have lost.

    Attributes:
        is_cut_off: the broker does not answer; it is tried again with full jitter, 0.1 to 5 s.
        claims: whether claims are wanted; the pump says.
    """

    def __init__(
        self, broker: AsyncBroker, is_current: Callable[[LeaseId], bool], reminder: Reminder
    ) -> None:
        self._broker = broker
        self._is_current = is_current
        self._reminder = reminder
        self.is_cut_off = False
        self.claims = True
        self._sleeping: dict[Bell, None] = {}

    def refuse_claims(self) -> None:
        """Want no claims from now on; one that waits for its next try is given up at once."""
        self.claims = False
        self._ring()

    def try_now(self) -> None:
        """Wait no longer for the next try: something has come from the broker."""
        if self.is_cut_off:
            self._ring()

    async def carry(
        self,
        settlements: Sequence[Settlement],
        request: ClaimRequest | None,
        *,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> Answers:
        """Settle and claim, in one call; return once the broker has answered.

        Args:
            settlements: what has ended; may be empty.
            request: a claim; given up when its lease is no longer the runner's, when it is refused,
                or when claims are not wanted any more and it can have taken nothing.
            first: what must be written before the settlements.

        Returns:
            What became of each settlement; and the claim's answer.
        """
        tries = Tries()
        while True:
            # Fence: whatever a claim under a lost lease took belongs to those who take it over.
            if request is not None and self._gives_up(request, tries):
                request = None
            if request is None and not settlements:
                return Answers((), (), None, is_doubtful=False)
            try:
                if first is not None:
                    await first()
                applied, claimed = await tries.make(self._call(settlements, request))
            except (Unavailable, OutcomeUnknown) as error:
                # Race: claims may have been refused during the call; its claim waits no more.
                if request is None or not self._gives_up(request, tries):
                    await self._wait(tries, error)
            except Exception:  # noqa: BLE001 - nothing that has ended may be lost
                _log.exception("the broker refuses a round of %d settlements", len(settlements))
                made = [await self._alone(settlement, tries) for settlement in settlements]
                self._reminder.keep([one for one, _ in made], [answer for _, answer in made])
                await self._pause(tries)
                return Answers(
                    [settlement for settlement, _ in made],
                    [answer for _, answer in made],
                    None,
                    tries.is_unknown,
                )
            else:
                self._answered()
                self._reminder.keep(settlements, applied)
                return Answers(settlements, applied, claimed, tries.is_unknown)

    def _gives_up(self, request: ClaimRequest, tries: Tries) -> bool:
        """Return whether nobody wants the jobs of a claim that has taken none for certain."""
        return not self._is_current(request.lease) or (not self.claims and not tries.is_unknown)

    async def repeat(self, request: ClaimRequest) -> ClaimAnswer | None:
        """Make a claim that may have taken jobs until its lease is open, and tell which they are.

        Race: a lease that ran out while the broker was away gives nothing, not even what it gave
        before. Once it is extended it lives again, and what it gave runs under it for ever.

        Returns:
            The answer; None where the lease is not the runner's any more: its jobs are others'.
        """
        tries = Tries()
        while self._is_current(request.lease):
            await self._pause(tries)
            try:
                answer = await self._broker.claim(request)
            except (Unavailable, OutcomeUnknown) as error:
                await self._wait(tries, error)
                continue
            self._answered()
            if answer.lease_open:
                return answer
        return None

    async def read(self, job_id: JobId) -> JobRecord | None:
        """Return what the broker knows of a job, once it has answered; None if it has none."""
        tries = Tries()
        while True:
            try:
                record = await self._broker.get(job_id)
            except (Unavailable, OutcomeUnknown) as error:
                await self._wait(tries, error)
            else:
                self._answered()
                return record

    async def _call(
        self, settlements: Sequence[Settlement], request: ClaimRequest | None
    ) -> tuple[Sequence[Applied], ClaimAnswer | None]:
        if request is None:
            return await self._broker.settle(settlements), None
        if settlements:
            return await self._broker.cycle(settlements, request)
        return (), await self._broker.claim(request)

    async def _alone(self, settlement: Settlement, tries: Tries) -> tuple[Settlement, Applied]:
        """Settle one by itself, so that one that is refused does not hold back the others."""
        while True:
            try:
                (answer,) = await tries.make(self._broker.settle([settlement]))
            except (Unavailable, OutcomeUnknown) as error:
                await self._wait(tries, error)
            except Exception as error:  # noqa: BLE001 - the same
                _log.exception("job %s cannot be settled as %r", settlement.id, settlement.outcome)
                if isinstance(settlement, s.Bury):
                    return settlement, Applied.STALE
                settlement = _buried(settlement, error)
            else:
                return settlement, answer

    async def _wait(self, tries: Tries, error: Exception) -> None:
        self._reminder.failed()
        if not self.is_cut_off:
            self.is_cut_off = True
            # The supervisor warns, once for all of its runners.
            _log.info("the broker does not answer, running jobs go on: %s", error)
        await self._pause(tries)

    async def _pause(self, tries: Tries) -> None:
        """Wait for the next try. Rounds under way side by side wait each for themselves."""
        tries.failures += 1
        bell = Bell()
        self._sleeping[bell] = None
        try:
            await bell.sleep(retry_wait_s(tries.failures))
        finally:
            del self._sleeping[bell]

    def _ring(self) -> None:
        for bell in self._sleeping:
            bell.ring()

    def _answered(self) -> None:
        self._reminder.answered()
        if self.is_cut_off:
            self.is_cut_off = False
            _log.info("the broker answers again")
            # Race: a claim that waits for its next try may hold jobs that nobody here knows of.
            self._ring()


def _buried(settlement: Settlement, error: Exception) -> s.Bury:
    return s.Bury(
        id=settlement.id,
        fence=settlement.fence,
        outcome=settlement.outcome,
        error=stored_error(error),
        reason=Reason.RESULT_REFUSED,
        charges=getattr(settlement, "charges", NO_CHARGES),
    )
