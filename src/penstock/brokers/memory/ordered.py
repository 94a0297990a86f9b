"""A sorted list, so that the head of an index is its first entry."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry", bound=tuple[Any, ...] | str)


class Ordered(Generic[Entry]):
    """Entries in ascending order, each at most once.

    Cost: `add` and `remove` compare O(log n) times and move memory; reading is by index.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        """Start empty."""
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def add(self, entry: Entry) -> None:
        """Put `entry` in its place."""
        insort(self._entries, entry)

    def remove(self, entry: Entry) -> None:
        """Take `entry` out.

        Raises:
            KeyError: it is not there, so an index and the jobs disagree.
        """
        at = bisect_left(self._entries, entry)
        if at == len(self._entries) or self._entries[at] != entry:
            raise KeyError(entry)
        del self._entries[at]

    def below(self, bound: Entry) -> int:
        """Return how many entries are less than `bound`."""
        return bisect_left(self._entries, bound)
