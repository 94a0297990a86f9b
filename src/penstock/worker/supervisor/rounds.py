"""Rounds: what has ended is settled, and its slots and children are claimed for, in one call.

One round is under way at a time; what ends meanwhile gathers for the next one. So batches form by
themselves under load, and nothing waits for a timer when it could go now. Two at a time were
measured and gave no more: batches are smaller, and each call costs more than what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from penstock.core.ids import JobId
from penstock.core.job import Claimed
from penstock.core.settlement import Applied, Settlement
from penstock.errors import OutcomeUnknown
from penstock.worker.batches import split_batch

from .claims import Claims, LoneClaim
from .crew import Crew
from .lone_attempt import LoneAttempt
from .parts import Parts
from .settling import Verdict

_Ended = tuple[LoneAttempt, Verdict]


class Ends(NamedTuple):
    """What stands at both ends of a round.

    Attributes:
        draw: returns a claim for free children, those of so many ended attempts among them.
        begin: starts the jobs that a claim has brought.
        settled: told of attempts that the broker has answered for, and of the round's claim.
        moved: told that a call is being made.
    """

    draw: Callable[[int], LoneClaim | None]
    begin: Callable[[LoneClaim, Sequence[Claimed]], None]
    settled: Callable[[Sequence[LoneAttempt], LoneClaim | None], None]
    moved: Callable[[], None]


class Rounds:
    """Makes rounds, each started by what ends.

    Attributes:
        leaving: attempts in the round under way that still hold their slots.
    """

    def __init__(self, parts: Parts, crew: Crew, claims: Claims, ends: Ends) -> None:
        """Make them in tasks of `crew`."""
        self._parts = parts
        self._crew = crew
        self._claims = claims
        self._ends = ends
        self._ended: list[_Ended] = []
        self._is_under_way = False
        self._is_kicked = False
        self.leaving = 0

    def add(self, attempt: LoneAttempt, verdict: Verdict) -> None:
        """Settle an attempt, as soon as may be. Its slot is held until then."""
        self._ended.append((attempt, verdict))
        self._kick()

    def _kick(self) -> None:
        """Start a round, once what is ready to be read now has been taken in."""
        if not self._is_kicked:
            self._is_kicked = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._is_kicked = False
        if self._ended and not self._is_under_way:
            batch = self._next_batch()
            claim = self._ends.draw(len(batch)) if self._claims.may_wait else None
            self._is_under_way = True
            self.leaving = len(batch)
            self._crew.send("a round", self._make(batch, claim))

    def _next_batch(self) -> list[_Ended]:
        """Take what has ended, as far as one call allows: each job once."""
        batch, self._ended = split_batch(self._ended, _job_of)
        return batch

    async def _make(self, batch: Sequence[_Ended], claim: LoneClaim | None) -> None:
        try:
            await self._parts.settler.settle(
                [verdict for _, verdict in batch], partial(self._carry, claim)
            )
        finally:
            self._is_under_way = False
            self._give_slots_back()
            if claim is not None:
                # Where the batch was refused nobody knows whether the claim in it was made.
                claim.may_have_taken = True
                self._claims.leave(claim)
            self._ends.settled([attempt for attempt, _ in batch], claim)
            if self._ended:
                self._kick()

    async def _carry(
        self, claim: LoneClaim | None, settlements: Sequence[Settlement]
    ) -> Sequence[Applied]:
        """Make one try; what it claimed begins before anything else is done."""
        self._ends.moved()
        broker = self._parts.link.broker
        if claim is not None and self._parts.stopping.is_shut:
            self._claims.give_up(claim)
        if claim is None or claim not in self._claims.open:
            applied = await broker.settle(settlements)
            self._give_slots_back()
            return applied
        try:
            applied, answer = await broker.cycle(settlements, claim.request)
        except OutcomeUnknown:
            claim.may_have_taken = True
            raise
        self._give_slots_back()
        self._claims.answered(claim, answer)
        self._ends.begin(claim, answer.jobs)
        return applied

    def _give_slots_back(self) -> None:
        for _ in range(self.leaving):
            self._parts.slots.give_back()
        self.leaving = 0


def _job_of(ended: _Ended) -> JobId:
    return ended[0].job.id
