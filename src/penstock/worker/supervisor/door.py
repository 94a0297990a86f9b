"""Which ready sets of lone jobs may be claimed from now, and how many jobs."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.admission import Gate, Room, Set, room_for

from .child_kinds import is_plain
from .child_pool import ChildPool
from .claims import Claims
from .host_gate import HostGate
from .parts import Parts


class Door:
    """Lets in what fits, and sees to it that what is large is not overtaken for ever.

    Attributes:
        waits_for_others: at the last look a job would have fitted, had not another worker of the
            host reserved the memory, or has it a GPU; nobody tells when it is free again.
    """

    def __init__(self, parts: Parts, pool: ChildPool, claims: Claims) -> None:
        """Hold nothing back yet."""
        self._parts = parts
        self._pool = pool
        self._claims = claims
        self._gate = Gate()
        self._of_host = HostGate(parts.budget)
        self.waits_for_others = False

    @property
    def holder(self) -> Set | None:
        """The ready set for which the worker holds itself free; None: it takes what fits."""
        return self._gate.holder

    def room(self, slots: int) -> Room:
        """Return what a claim may ask for, so that whatever comes fits."""
        budget, clock = self._parts.budget, self._parts.link.clock
        budget.keep_promised(self._claims.open)
        waiting = list(self._claims.sets)
        free, own = budget.free, budget.own_free
        fitting = [one for one in waiting if not budget.short_of(one, free)]
        self.waits_for_others = slots > 0 and any(
            not budget.short_of(one, own, alone=True) for one in waiting if one not in fitting
        )
        self._of_host.ask_for(waiting if self.waits_for_others else ())
        let_through = self._gate.let_through(
            waiting,
            fitting,
            clock.boot_ms(),
            competes=budget.competes,
            may_hold=self._of_host.hold_for,
            listed=self._claims.full_sets,
        )
        if self._gate.holder is None:
            self._of_host.open()
        else:
            self._of_host.hold_memory(self._gate.holder)
        if not self._pool.may_make:
            let_through = [one for one in let_through if is_plain(one[1])]
        if any(is_plain(one[1]) for one in let_through):
            # A job is claimed only once there is a child for it: until then any worker may have it.
            # What needs a child made for it is claimed before: which, its claim tells.
            slots = min(slots, self._pool.idle - self._claims.promised)
        return room_for(let_through, amounts_of=budget.counting.amounts_of, free=free, slots=slots)

    def passed(self, sets: Sequence[Set]) -> None:
        """Take in that a claim of these sets was answered.

        For a set that brings nothing nobody is held back.
        """
        self._gate.passed(sets)
        if self._gate.holder is None:
            self._of_host.open()

    def shut(self) -> None:
        """Hold nothing free: nothing is claimed just now."""
        self._gate.open()
        self._of_host.open()
        self._of_host.ask_for(())
        self.tidy()

    def tidy(self) -> None:
        """Give back what claims had been promised that are over, and tell the host."""
        budget = self._parts.budget
        budget.keep_promised(self._claims.open)
        budget.publish()
