"""Which ready sets a worker may take from now, and how many jobs at once. Pure.

A claim names sets and a number of jobs; which jobs come is the broker's choice among them, by rank.
So a set is offered only where its largest job would fit, and as many jobs are asked for as would
fit if each took the most that one of any set offered does, of everything that is counted.

Small jobs may overtake a large one that does not fit yet, for as long as the patience lasts. Then
the worker holds itself free: of what that one is short of it gives to nobody else until that one
fits, and takes it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

Set = tuple[str, str]
"""A ready set: its queue and its need."""
Amounts = Mapping[str, int]
"""What is taken or free, by name (`demand.amounts_of`): bytes, thousandths of a CPU, pieces."""

#: Milliseconds for which others may overtake a job that an empty worker could hold: many light
#: jobs long, and short beside what a job runs that is so large.
PATIENCE_MS: Final = 10_000


class Room(NamedTuple):
    """What a claim may ask for.

    Attributes:
        sets: that may be offered, in the order given.
        jobs: that may be asked for; 0: nothing fits.
        each: what is to be set aside for each of them until it is known.
    """

    sets: tuple[Set, ...]
    jobs: int
    each: Amounts


NO_ROOM: Final = Room((), 0, {})


def lacking(amounts: Amounts, free: Amounts) -> frozenset[str]:
    """Return the names of what is not free in these amounts; empty: all of it fits."""
    return frozenset(name for name, amount in amounts.items() if amount > free.get(name, 0))


def room_for(
    sets: Sequence[Set], *, amounts_of: Callable[[Set], Amounts], free: Amounts, slots: int
) -> Room:
    """Return which of `sets` fit into what is free, and how many jobs of them.

    Args:
        sets: in which jobs wait.
        amounts_of: returns what the largest job of a set takes.
        free: what nobody has.
        slots: children that are free.
    """
    fitting = [(one, amounts) for one in sets if not lacking(amounts := amounts_of(one), free)]
    if not fitting or slots <= 0:
        return NO_ROOM
    each: dict[str, int] = {}
    for _, amounts in fitting:
        for name, amount in amounts.items():
            each[name] = max(each.get(name, 0), amount)
    jobs = min([slots, *(free[name] // amount for name, amount in each.items() if amount)])
    return Room(tuple(one for one, _ in fitting), jobs, each)


class Gate:
    """Sees to it that a large job is not overtaken for ever.

    Attributes:
        holder: the set that the worker holds itself free for; None: anything that fits is taken.
    """

    def __init__(self, patience_ms: int = PATIENCE_MS) -> None:
        """Let others overtake for that long."""
        self._patience_ms = patience_ms
        self._since: dict[Set, int] = {}
        self.holder: Set | None = None

    def let_through(
        self,
        waiting: Iterable[Set],
        fitting: Sequence[Set],
        now_ms: int,
        *,
        competes: Callable[[Set, Set], bool] = lambda _one, _holder: True,
        may_hold: Callable[[Set], bool] = lambda _one: True,
        listed: Iterable[Set] = (),
    ) -> Sequence[Set]:
        """Return which of the sets that fit may be offered now.

        Args:
            waiting: those with jobs that this worker could hold if it were empty.
            fitting: of these, those that fit now.
            now_ms: of any clock that only rises.
            competes: tells whether the first set takes of what the second is short of.
            may_hold: tells whether this worker may hold itself free for a set: not where another
                one of its host does.
            listed: further sets with jobs, of which none may be taken now for another reason: what
                waits in them grows older, and nobody is held back for it.
        """
        here, fits = list(waiting), set(fitting)
        self._since = {
            one: self._since.get(one, now_ms) for one in (*here, *listed) if one not in fits
        }
        if self.holder not in here:
            self.open()
        since_ms = now_ms - self._patience_ms
        late = [one for one in here if one in self._since and self._since[one] <= since_ms]
        if self.holder is None and late:
            one = min(late, key=self._since.__getitem__)
            if may_hold(one):
                self.holder = one
        holder = self.holder
        if holder is None:
            return fitting
        if holder not in fits:
            return [one for one in fitting if not competes(one, holder)]
        return [holder]

    def passed(self, sets: Sequence[Set]) -> None:
        """Take in that a claim of these sets was answered: open if it was the holder's alone.

        One that offered others as well, drawn before, may have brought jobs of those.
        """
        if self.holder is not None and list(sets) == [self.holder]:
            self.open()

    def open(self) -> None:
        """Hold nothing free."""
        self.holder = None
