"""The supervisor's claims for its children: which sets are offered, and what is unanswered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from penstock.broker.requests import ClaimAnswer, ClaimRequest
from penstock.core.admission import Set
from penstock.core.ids import Fence
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.queue_room import QueueRoom

from .leases import Leases
from .link import BrokerLink
from .offers import Offers

#: Seconds after which the ready sets are looked at again while claims are filled: a look costs its
#: round trips at most twenty times a second.
LOOK_AGAIN_S: Final = 0.05
#: Seconds for which a look holds. A job that comes first and stands in a set that was empty then is
#: passed over for no longer than this; what has run for longer is followed by a look, then a claim.
_LOOK_HOLDS_S: Final = 2 * LOOK_AGAIN_S


#: Seconds for which it is taken as known which queues are paused, while jobs wait.
_PAUSED_HOLDS_S: Final = 2.0


class LoneClaim:
    """One claim, until it is answered or given up.

    Attributes:
        request: what is asked for; the same at each try.
        sets: the ready sets that are offered by it.
        may_have_taken: of one try it is not known what it did.
    """

    __slots__ = ("may_have_taken", "request", "sets")

    def __init__(self, request: ClaimRequest, sets: Sequence[Set] = ()) -> None:
        """Begin with no try made."""
        self.request = request
        self.sets = sets
        self.may_have_taken = False


class Claims:
    """Looks for lone jobs, and claims them by requests that are repeated until answered.

    Attributes:
        open: under way, or to be repeated.
        left: of these, those that nobody is making.
        queued: lone jobs that waited at the last count, as far as it could tell.
        is_seen: the last look saw lone jobs, and nothing was claimed since.
        is_due_soon: at the last look a waiting job was due within one poll.
        room: of the queues; sets of a queue that is full are not seen.
        could_hold: tells whether an empty worker could hold a job of a set; others are not seen,
            and nothing is kept for them.
    """

    def __init__(
        self, link: BrokerLink, leases: Leases, queues: tuple[str, ...],
        *, poll_ms: int, wake_token: str | None,
    ) -> None:  # fmt: skip
        """Claim from `queues`, under the supervisor's own lease of `leases`."""
        self._link = link
        self._leases = leases
        self._queues = queues
        self._poll_ms = poll_ms
        self._wake_token = wake_token
        self._offers = Offers(queues)
        self._looked_s = self._counted_s = 0.0
        self._paused: frozenset[str] = frozenset()
        self._may_wait = False
        self.open: list[LoneClaim] = []
        self.left: list[LoneClaim] = []
        self.queued = 0
        self.is_seen = False
        self.is_due_soon = False
        self.room = QueueRoom()
        self.could_hold: Callable[[Set], bool] = lambda _one: True

    @property
    def promised(self) -> int:
        """Jobs that open claims may bring."""
        return sum(claim.request.limit for claim in self.open)

    @property
    def may_wait(self) -> bool:
        """Whether lone jobs wait as far as is known: seen lately, and no claim has come short."""
        return self._may_wait and self._age_s() < _LOOK_HOLDS_S

    def is_look_due(self, *, has_enough: bool) -> bool:
        """Return whether to look again; `has_enough`: no more children are wanted, whatever waits.

        As long as none is free nothing changes by a look but how many are wanted.
        """
        if not self.may_wait:
            return True
        return not self.is_seen and (not has_enough or self._age_s() >= LOOK_AGAIN_S)

    def _age_s(self) -> float:
        return self._loop_s() - self._looked_s

    @staticmethod
    def _loop_s() -> float:
        return asyncio.get_running_loop().time()

    async def look(self) -> int | None:
        """Ask to be woken and look; return how long to sleep, None: a lone job waits."""
        # Race: the token first, then the look, so that no job comes in unseen between the two.
        due_ms = await self._leave_token()
        self.is_due_soon = due_ms is not None and due_ms <= self._poll_ms
        found = await self._link.ask(self._link.broker.needs(self._queues))
        is_old = bool(self._paused) or self._loop_s() - self._counted_s >= _PAUSED_HOLDS_S
        if any(found.values()) and is_old:
            await self.count()
        # What waits in a paused queue is nobody's turn: no slot and no memory is kept for it.
        needs = {queue: names for queue, names in found.items() if queue not in self._paused}
        self._looked_s = asyncio.get_running_loop().time()
        self._may_wait = self.is_seen = self._offers.learn(needs) and bool(self.sets)
        if self._may_wait:
            return None
        return self._poll_ms if due_ms is None else min(self._poll_ms, due_ms + 1)

    @property
    def sets(self) -> Sequence[Set]:
        """The ready sets whose lone jobs this worker could take, of no queue that is full."""
        there = [one for one in self._offers.sets if self.room.is_open(one[0])]
        return [one for one in there if self.could_hold(one)]

    @property
    def full_sets(self) -> Sequence[Set]:
        """The ready sets with lone jobs of queues that are full just now."""
        return [one for one in self._offers.sets if not self.room.is_open(one[0])]

    @property
    def threads_wait(self) -> bool:
        """Whether, at the last look, plain jobs waited that only a full slot can run."""
        return self._offers.threads_wait

    def draw(self, sets: Sequence[Set], limit: int) -> LoneClaim:
        """Return a new claim for jobs of some of `sets`, open from now on."""
        request = ClaimRequest(
            lease=self._leases.own,
            offers=self._offers.of(sets),
            limit=limit,
            fence=Fence(secrets.token_hex(16)),
        )
        claim = LoneClaim(self.room.limited(request), sets)
        self.open.append(claim)
        return claim

    def forget_all(self) -> None:
        """Make no claim again: their lease is lost, and what they took belongs to others."""
        self.open.clear()
        self.left.clear()

    def give_up(self, claim: LoneClaim) -> None:
        """Close a claim, unless a try of it may have taken something."""
        if not claim.may_have_taken and claim in self.open:
            self.open.remove(claim)

    def leave(self, claim: LoneClaim) -> None:
        """Let a claim be repeated by whoever comes next, if it is still open.

        Fence: a call whose reply was lost is repeated as it was, else what it took would run under
        this lease with a fence that nobody knows.
        """
        if claim in self.open:
            self.left.append(claim)

    async def ask(self, claim: LoneClaim) -> ClaimAnswer:
        """Make a claim by itself.

        Raises:
            Unavailable, OutcomeUnknown: as the broker does; it is `left`, or it took nothing.
        """
        if claim in self.left:
            self.left.remove(claim)
        try:
            answer = await self._link.ask(self._link.broker.claim(claim.request))
        except Unavailable:
            self.give_up(claim)
            self.leave(claim)
            raise
        except OutcomeUnknown:
            claim.may_have_taken = True
            self.leave(claim)
            raise
        self.answered(claim, answer)
        self.leave(claim)
        return answer

    def answered(self, claim: LoneClaim, answer: ClaimAnswer) -> None:
        """Take in an answer: one that comes short shows that nothing more waits.

        Race: a lease that ran out while the broker was away gives nothing, not even what it gave
        before; once it is extended, which is asked for here, that runs under it for ever. So a
        claim that may have taken something stays open until it finds its lease open.
        """
        is_over = answer.lease_open or not claim.may_have_taken
        if is_over and claim in self.open:
            self.open.remove(claim)
        self.is_seen = False
        self._may_wait = self._may_wait and len(answer.jobs) == claim.request.limit
        if not answer.lease_open:
            self._leases.bell.ring()

    async def count(self) -> None:
        """Count the jobs that wait in queues in which only lone ones do; see which are paused."""
        counts = await self._link.ask(self._link.broker.counts())
        self._counted_s = self._loop_s()
        self._paused = frozenset(one.queue for one in counts if one.paused)
        self.queued = sum(one.queued for one in counts if one.queue in self._offers.only_lone)

    async def _leave_token(self) -> int | None:
        """Ask to be woken for lone jobs; return when the next job of the queues is due."""
        request = ClaimRequest(
            lease=self._leases.own,
            offers=self._offers.to_be_woken(),
            limit=1,
            fence=Fence(secrets.token_hex(16)),
            wake_token=self._wake_token,
        )
        return (await self._link.ask(self._link.broker.claim(request))).next_due_in_ms
