"""`concurrency` of `[queues.*]`: how many jobs of a queue a process may claim now.

A queue at its limit is not offered, so that nothing of it is claimed that could not begin, and
other workers may have it. A job counts from its claim to its end, and what a claim may still bring
counts as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from penstock.broker.requests import ClaimRequest, Offer
from penstock.core.capacity import share_of


class QueueRoom:
    """What the queues of one runner, or of the children of a supervisor, have room for.

    Args:
        queues: that are served.
        limits: jobs at a time, for queues that have such a limit; others always have room.
        running: returns the queue of each job that is under way.
        claims: returns the claims under way.
    """

    def __init__(
        self,
        queues: Iterable[str] = (),
        limits: Mapping[str, int] | None = None,
        *,
        running: Callable[[], Iterable[str]] = tuple,
        claims: Callable[[], Iterable[ClaimRequest | None]] = tuple,
    ) -> None:
        self._queues = tuple(queues)
        self._limits = {
            queue: limit for queue, limit in (limits or {}).items() if queue in self._queues
        }
        self._running = running
        self._claims = claims

    def concerns(self, queue: str) -> bool:
        """Return whether a queue has a limit, so that the end of one of its jobs makes room."""
        return queue in self._limits

    def is_open(self, queue: str | None = None) -> bool:
        """Return whether a queue has room; None: whether any has."""
        if queue is None:
            has_limit = bool(self._limits) and len(self._limits) == len(self._queues)
        else:
            has_limit = queue in self._limits
        if not has_limit:
            return True
        left = self._left()
        return any(left.values()) if queue is None else left[queue] > 0

    def limited(self, request: ClaimRequest) -> ClaimRequest:
        """Return a claim that brings no more of each queue than it has room for."""
        if not self._limits:
            return request
        left = self._left()
        offers = [_narrowed(one, left) for one in request.offers if left.get(one.queue) != 0]
        return msgspec.structs.replace(request, offers=tuple(offers))

    def _left(self) -> dict[str, int]:
        taken = Counter(self._running())
        for claim in self._claims():
            for offer in () if claim is None else claim.offers:
                taken[offer.queue] += _most(claim.limit, offer) if claim else 0
        return {queue: max(0, limit - taken[queue]) for queue, limit in self._limits.items()}


def shares(limits: Mapping[str, int], processes: int) -> dict[str, int]:
    """Return the limits of one of so many runners, which know nothing of each other."""
    return {queue: share_of(limit, processes) for queue, limit in limits.items()}


def _narrowed(offer: Offer, left: Mapping[str, int]) -> Offer:
    most = left.get(offer.queue)
    return offer if most is None else msgspec.structs.replace(offer, limit=_most(most, offer))


def _most(limit: int, offer: Offer) -> int:
    return limit if offer.limit is None else min(limit, offer.limit)
