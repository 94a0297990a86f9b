"""How many slots, and how many children, are wanted for lone jobs."""

from __future__ import annotations

from penstock.core.turn import TURN_MS, kept_slots

from .child_pool import ChildPool
from .claims import Claims
from .parts import Parts
from .runners import Runners


class Wants:
    """Asks runners for slots and the pool for children, as far as lone jobs wait."""

    def __init__(self, parts: Parts, runners: Runners, pool: ChildPool, claims: Claims) -> None:
        """Want nothing yet."""
        self._parts = parts
        self._runners = runners
        self._pool = pool
        self._claims = claims
        self._wanted = 0

    @property
    def is_enough(self) -> bool:
        """Whether no more could be wanted, whatever waits."""
        return self._wanted >= self._parts.slots.for_children

    def looked(self, *, lone_wait: bool) -> None:
        """Take in what a look at the ready sets saw, of jobs that wait for threads too."""
        slots = self._parts.slots
        slots.kept = kept_slots(
            total=slots.total,
            threads_wait=self._claims.threads_wait,
            children_wait=lone_wait or slots.children > 0,
            now_ms=self._parts.link.clock.boot_ms(),
        )

    def turn_in_ms(self, wait_ms: int) -> int:
        """Return how long to sleep at most, so that no turn of the other kind is slept through.

        With a single slot, which is lent in turns; the loop would else wake at the same point of
        each of them.
        """
        slots = self._parts.slots
        if slots.total > 1 or not self._claims.threads_wait:
            return wait_ms
        return min(wait_ms, TURN_MS - self._parts.link.clock.boot_ms() % TURN_MS + 1)

    def more(self) -> None:
        """Ask for slots and children, since lone jobs wait: for ever twice as many as before.

        The first time for two, if two jobs are known to wait: the start of a child takes long.
        """
        held, total = self._parts.slots.children, self._parts.slots.for_children
        more = max(1, held, min(2, self._claims.queued))
        self._wanted = min(max(self._wanted, held + more), total)
        self._runners.want_children(self._wanted)
        self._pool.prepare(self._parts.slots.free())

    def no_more(self) -> None:
        """Ask for no slot that no child holds."""
        self._wanted = 0
        self._runners.want_children(self._parts.slots.children)
