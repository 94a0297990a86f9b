"""Which ready sets of lone jobs a claim offers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.broker.requests import OFFERS_MAX, Offer
from penstock.core.admission import Set
from penstock.core.job import ALONE, THREAD_FULL
from penstock.core.need import is_alone


class Offers:
    """Takes in what the broker says is waiting, and offers at most OFFERS_MAX sets, in turn.

    Attributes:
        only_lone: queues in which lone jobs wait, and no others.
        threads_wait: plain jobs wait that only a full slot can run.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        """Offer sets of these queues only."""
        self._queues = queues
        self._sets: list[Set] = []
        self._next = 0
        self.only_lone: frozenset[str] = frozenset()
        self.threads_wait = False

    def learn(self, needs: Mapping[str, Sequence[str]]) -> bool:
        """Note the ready sets that are not empty; return whether a lone job waits in any."""
        self._sets = [
            (queue, need)
            for queue in self._queues
            for need in needs.get(queue, ())
            if is_alone(need)
        ]
        self.only_lone = frozenset(
            queue for queue, names in needs.items() if names and all(map(is_alone, names))
        )
        self.threads_wait = any(THREAD_FULL in needs.get(queue, ()) for queue in self._queues)
        return bool(self._sets)

    @property
    def sets(self) -> Sequence[Set]:
        """The ready sets in which lone jobs wait, as far as is known."""
        return self._sets

    def of(self, sets: Sequence[Set]) -> tuple[Offer, ...]:
        """Return offers of these sets; beyond OFFERS_MAX, in turn."""
        chosen = sets
        if len(sets) > OFFERS_MAX:
            start = self._next % len(sets)
            chosen = (*sets[start:], *sets[:start])[:OFFERS_MAX]
            self._next = start + OFFERS_MAX
        return _by_queue(chosen)

    def to_be_woken(self) -> tuple[Offer, ...]:
        """Return offers that take nothing: they only leave a wake-up token, for all lone jobs.

        Of queues beyond OFFERS_MAX a job is noticed at the next look.
        """
        return _by_queue([(queue, ALONE) for queue in self._queues[:OFFERS_MAX]], limit=0)


def _by_queue(sets: Sequence[Set], limit: int | None = None) -> tuple[Offer, ...]:
    needs: dict[str, list[str]] = {}
    for queue, need in sets:
        needs.setdefault(queue, []).append(need)
    return tuple(Offer(queue, tuple(names), limit) for queue, names in needs.items())
