"""One kind of slot and the claims for it: coroutines from `shared`, threads from `thread`.

A feed asks for no more than it has free slots, so nothing is claimed that cannot start and nothing
is hoarded that another runner could run. It is hungry while there may be something to claim, and
sated once a claim came back empty: then its waiter token stands at the broker, and it sleeps until
it is woken, something becomes due, or the slow poll comes. It is sated for the ready sets that the
claim named; which sets it may claim from depends on the slots that are free.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from penstock.broker.protocol import Listener
from penstock.broker.requests import BATCH_MAX, ClaimAnswer, ClaimRequest, Offer
from penstock.core.ids import Fence, LeaseId

Claimable = Callable[[], tuple[tuple[str, ...], int]]
"""Returns the ready sets from which jobs may be claimed now, and how many."""
_NOTHING: frozenset[str] = frozenset()


class Feed:
    """Claims for one kind of slot. Belongs to the loop's thread.

    Args:
        needs: all ready sets that it ever claims from.
        queues: in the order in which their heads are offered.
        listener: its own, so that a claim of another feed does not take its token back.
        slots: returns how many slots of this kind there are.
        claimable: which of `needs` fit the slots that are free, and how many jobs do.
        kick: called when it has become hungry; `at_once` where the broker said so.
        claims_at_once: each asks for its share of the slots, so that others can follow.

    Attributes:
        needs, listener, slots: see above.
        due_in_ms: what the last empty claim said, None after any other.
        is_flowing: the last claim brought all that it asked for: there is more.
        is_cut_off: the lease was not open at the last claim: it has to be extended or replaced.
    """

    def __init__(
        self,
        needs: tuple[str, ...],
        queues: Sequence[str],
        listener: Listener,
        *,
        slots: Callable[[], int],
        claimable: Claimable,
        kick: Callable[..., None],
        claims_at_once: int = 1,
    ) -> None:
        self.needs = needs
        self.slots = slots
        self.is_flowing = False
        self.due_in_ms: int | None = None
        self.is_cut_off = False
        self._queues = tuple(queues)
        self._offers: dict[tuple[str, ...], tuple[Offer, ...]] = {}
        self.listener = listener
        self._claimable = claimable
        self._sated_for = _NOTHING
        self._claims_at_once = claims_at_once
        self._asked = 0
        self._kick = kick
        self._loop = asyncio.get_running_loop()
        self._was_woken = False
        self._due: asyncio.TimerHandle | None = None
        if listener.fileno() >= 0:
            self._loop.add_reader(listener.fileno(), self._woken)

    @property
    def is_asking(self) -> bool:
        """Whether a claim is under way."""
        return self._asked > 0

    @property
    def is_sated(self) -> bool:
        """Whether nothing is to be claimed from any of its sets."""
        return self._sated_for.issuperset(self.needs)

    def room(self) -> int:
        """Return how many jobs may be asked for now; 0 where nothing is to be had or done."""
        needs, free = self._claimable()
        if self._sated_for.issuperset(needs):
            return 0
        share = -(-self.slots() // self._claims_at_once)
        # Race: slots that are lent to children may still be busy here, so that fewer than none are
        # free until their jobs end. What is asked for may come any time.
        return max(0, min(BATCH_MAX, share, free - self._asked))

    def request(self, lease: LeaseId) -> ClaimRequest:
        """Return a new claim for the whole room; `answered` ends it."""
        self._was_woken = False
        limit = self.room()
        self._asked += limit
        return ClaimRequest(
            lease=lease,
            offers=self._offers_of(self._claimable()[0]),
            limit=limit,
            fence=Fence(secrets.token_hex(16)),
            wake_token=self.listener.token,
        )

    def _offers_of(self, needs: tuple[str, ...]) -> tuple[Offer, ...]:
        found = self._offers.get(needs)
        if found is None:
            found = tuple(Offer(queue, needs) for queue in self._queues)
            self._offers[needs] = found
        return found

    def answered(self, request: ClaimRequest, answer: ClaimAnswer | None) -> None:
        """Take in what a claim came to; None: it was given up."""
        self._asked -= request.limit
        if answer is None:
            # Race: a claim before this one may be empty, and the wake-up after it was for this one.
            self._sated_for = _NOTHING
            return
        self.is_cut_off = not answer.lease_open
        self.is_flowing = len(answer.jobs) >= request.limit
        self.due_in_ms = answer.next_due_in_ms
        if answer.jobs:
            # Race: a claim before this one may have come back empty, and its token is used up.
            self._sated_for = _NOTHING
            return
        # Race: a wake-up that came while the claim was under way may be for a job it did not see.
        if not self._was_woken:
            self._sated_for = frozenset(request.offers[0].needs)
            if answer.next_due_in_ms is not None:
                self._wake_in(answer.next_due_in_ms)

    def wake(self, *, at_once: bool = False) -> None:
        """Ask again: there may be something to claim.

        Args:
            at_once: the broker said so.
        """
        self._sated_for = _NOTHING
        self._was_woken = True
        self._kick(at_once=at_once)

    def close(self) -> None:
        """Sleep for ever."""
        if self._due is not None:
            self._due.cancel()
        if self.listener.fileno() >= 0:
            self._loop.remove_reader(self.listener.fileno())
        self.listener.close()

    def _woken(self) -> None:
        if self.listener.drain():
            self.wake(at_once=True)

    def _wake_in(self, due_in_ms: int) -> None:
        if self._due is not None:
            self._due.cancel()
        # One more millisecond: the broker's clock is cut to whole ones, and early is in vain.
        self._due = self._loop.call_later((due_in_ms + 1) / 1000, self.wake)
