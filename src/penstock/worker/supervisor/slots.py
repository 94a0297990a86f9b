"""The slots of a worker, shared by the threads of its runners and by its children. Pure.

There are `total` slots. Runners hold those that no child holds or waits for. Taking a slot back
from a runner takes as long as its job needs: until the runner has yielded, the slot counts as its
own. What runners have beside them for light work, their light lane, is no part of this.
"""

from __future__ import annotations

from typing import Generic, TypeVar

R = TypeVar("R")


class Slots(Generic[R]):
    """Who holds how many slots. `R` names a runner; each change returns what to tell whom.

    Attributes:
        total: slots of the worker.
        children: slots that children hold.
        kept: slots that no further child may take; what is said here holds from the next `want` on.
    """

    def __init__(self, total: int) -> None:
        """Start with all slots free and no runner."""
        self.total = total
        self.children = 0
        self.kept = 0
        self._wanted = 0
        #: Threads granted, and the number that may still be in use: at least the grant.
        self._granted: dict[R, int] = {}
        self._bound: dict[R, int] = {}

    def join(self, runner: R) -> int:
        """Let a runner take part; return the threads that it begins with. `rebalance` follows."""
        self._granted[runner] = self._bound[runner] = 0
        share = self._shares()[-1]
        self._granted[runner] = self._bound[runner] = share
        return share

    def leave(self, runner: R) -> None:
        """Forget a runner that died or drains: it takes no new work. `rebalance` follows."""
        self._granted.pop(runner, None)
        self._bound.pop(runner, None)

    def yielded(self, runner: R, threads: int) -> None:
        """Note a runner's word that no more than `threads` are in use now."""
        if runner in self._bound:
            self._bound[runner] = max(threads, self._granted[runner])

    def presume_yielded(self, runner: R) -> None:
        """Stop waiting for a runner that stands still: its slots must not stand still with it."""
        if runner in self._bound:
            self._bound[runner] = self._granted[runner]

    def want(self, children: int) -> list[tuple[R, int]]:
        """Aim at `children` slots for children, those held included; return new grants to tell."""
        self._wanted = min(max(children, self.children), self.for_children)
        return self.rebalance()

    def rebalance(self) -> list[tuple[R, int]]:
        """Share out anew after a runner came or went; return new grants to tell."""
        changes = []
        for runner, share in zip(list(self._granted), self._shares(), strict=True):
            if share != self._granted[runner]:
                self._granted[runner] = share
                self._bound[runner] = max(self._bound[runner], share)
                changes.append((runner, share))
        return changes

    @property
    def for_children(self) -> int:
        """Slots that children may hold."""
        return self.total - self.kept

    def free(self, ended: int = 0) -> int:
        """Return how many more children may start, once `ended` of them have given back theirs."""
        allowed = max(0, self.total - sum(self._bound.values()))
        return max(0, min(allowed, self._wanted) - (self.children - ended))

    def take(self) -> None:
        """Note that a child begins to hold a slot that was free."""
        self.children += 1

    def give_back(self) -> None:
        """Note that a child holds a slot no longer."""
        self.children -= 1

    def _shares(self) -> list[int]:
        """Return the threads of each runner in the order in which they joined."""
        runners = len(self._granted)
        left = max(0, self.total - max(self._wanted, self.children))
        return [left // runners + (place < left % runners) for place in range(runners)]
