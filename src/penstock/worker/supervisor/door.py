"""Which ready sets of lone jobs may be claimed from now, and how many jobs."""

from __future__ import annotations

from penstock.core.admission import Gate, Room, room_for

from .child_kinds import is_plain
from .child_pool import ChildPool
from .claims import Claims
from .parts import Parts


class Door:
    """Lets in what fits, and sees to it that what is large is not overtaken for ever."""

    def __init__(self, parts: Parts, pool: ChildPool, claims: Claims) -> None:
        """Hold nothing back yet."""
        self._parts = parts
        self._pool = pool
        self._claims = claims
        self._gate = Gate()

    def room(self, slots: int) -> Room:
        """Return what a claim may ask for, so that whatever comes fits."""
        budget, clock = self._parts.budget, self._parts.link.clock
        budget.keep_promised(self._claims.open)
        waiting = [one for one in self._claims.sets if budget.could_make_room(one[1])]
        free = budget.free
        fitting = [one for one in waiting if not budget.short_of(one[1], free)]
        let_through = self._gate.let_through(
            waiting, fitting, clock.boot_ms(), competes=budget.competes, may_hold=budget.hold_for
        )
        if budget.host is not None and self._gate.holder is None:
            budget.host.open_gate()
        if not self._pool.may_make:
            let_through = [one for one in let_through if is_plain(one[1])]
        if any(is_plain(one[1]) for one in let_through):
            # A job is claimed only once there is a child for it: until then any worker may have it.
            # What needs a child made for it is claimed before: which, its claim tells.
            slots = min(slots, self._pool.idle - self._claims.promised)
        return room_for(let_through, amounts_of=budget.amounts_of, free=free, slots=slots)

    def passed(self) -> None:
        """Take in that a claim has brought jobs."""
        self._gate.passed()
