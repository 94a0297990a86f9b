"""What an attempt held over time, in few points however long it ran. Pure."""

from __future__ import annotations

from typing import Final

Point = tuple[int, int]
"""Milliseconds since the attempt began, and the most that was held from there to the next point."""

#: Points of a curve at most: a line that the eye cannot tell from one of thousands, in 1.5 KiB.
POINTS_MAX: Final = 64
#: Milliseconds that one point stands for at first: two looks of the memory watch at its fastest.
_STEP_MS: Final = 10


class MemoryCurve:
    """Takes in what was seen, and keeps the most of each stretch of time.

    When it is full, neighbours are joined and each point stands for twice the time, so that the
    curve covers the whole attempt, the highest point of it among the rest.
    """

    __slots__ = ("_points", "_step_ms")

    def __init__(self) -> None:
        """Begin with no point."""
        self._points: list[Point] = []
        self._step_ms = _STEP_MS

    @property
    def points(self) -> tuple[Point, ...]:
        """The curve so far, at most `POINTS_MAX` points, oldest first."""
        return tuple(self._points)

    def add(self, at_ms: int, held_bytes: int) -> None:
        """Take in one look; looks come in the order of time. Cost: below a microsecond mostly.

        Args:
            at_ms: since the attempt began.
            held_bytes: what its processes held then.
        """
        if self._points and at_ms < self._points[-1][0] + self._step_ms:
            began_ms, most = self._points[-1]
            self._points[-1] = (began_ms, max(most, held_bytes))
            return
        if len(self._points) == POINTS_MAX:
            self._halve()
            self.add(at_ms, held_bytes)
            return
        self._points.append((at_ms, held_bytes))

    def _halve(self) -> None:
        pairs = zip(self._points[::2], self._points[1::2], strict=True)
        self._points = [(at_ms, max(most, next_)) for (at_ms, most), (_, next_) in pairs]
        self._step_ms *= 2
