"""Which ready sets a worker may take from now, and how many jobs at once. Pure.

A claim names sets and a number of jobs; which jobs come is the broker's choice among them, by rank.
So a set is offered only where its largest job would fit, and as many jobs are asked for as would
fit if all were as large as the largest set that is offered.

Small jobs may overtake a large one that does not fit yet, for as long as the patience lasts. Then
the worker holds itself free: it takes nothing else until that one fits, and takes it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

Set = tuple[str, str]
"""A ready set: its queue and its need."""

#: Milliseconds for which others may overtake a job that an empty worker could hold: many light
#: jobs long, and short beside what a job runs that is so large.
PATIENCE_MS: Final = 10_000


class Room(NamedTuple):
    """What a claim may ask for.

    Attributes:
        sets: that may be offered, in the order given.
        jobs: that may be asked for; 0: nothing fits.
        each_bytes: what is to be set aside for each of them until it is known.
    """

    sets: tuple[Set, ...]
    jobs: int
    each_bytes: int


NO_ROOM: Final = Room((), 0, 0)


def room_for(
    sets: Sequence[Set], *, bytes_of: Callable[[str], int], free_bytes: int, slots: int
) -> Room:
    """Return which of `sets` fit into `free_bytes`, and how many jobs of them.

    Args:
        sets: in which jobs wait.
        bytes_of: returns what the largest job of a need takes.
        free_bytes: what is not reserved.
        slots: children that are free.
    """
    fitting = [(one, size) for one in sets if (size := bytes_of(one[1])) <= free_bytes]
    if not fitting or slots <= 0:
        return NO_ROOM
    each = max(size for _, size in fitting)
    jobs = slots if each == 0 else min(slots, max(1, free_bytes // each))
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
        self, waiting: Iterable[Set], fitting: Sequence[Set], now_ms: int
    ) -> Sequence[Set]:
        """Return which of the sets that fit may be offered now.

        Args:
            waiting: those with jobs that this worker could hold if it were empty.
            fitting: of these, those that fit now.
            now_ms: of any clock that only rises.
        """
        here, fits = list(waiting), set(fitting)
        self._since = {one: self._since.get(one, now_ms) for one in here if one not in fits}
        if self.holder not in here:
            self.holder = None
        if self.holder is None and self._since:
            one = min(self._since, key=self._since.__getitem__)
            if now_ms - self._since[one] >= self._patience_ms:
                self.holder = one
        if self.holder is None:
            return fitting
        return [self.holder] if self.holder in fits else []

    def passed(self) -> None:
        """Open: a claim that offered only the holder's set has been answered."""
        self.holder = None
