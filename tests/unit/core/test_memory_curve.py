"""The memory curve of an attempt: few points, the whole time, and never less than was held."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.memory_curve import POINTS_MAX, MemoryCurve

LOOKS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 2**40)), max_size=500)


def curve_of(looks: list[tuple[int, int]]) -> MemoryCurve:
    """Return the curve of looks, each so long after the one before."""
    curve, now_ms = MemoryCurve(), 0
    for wait_ms, held in looks:
        now_ms += wait_ms
        curve.add(now_ms, held)
    return curve


@given(LOOKS)
def test_every_look_lies_under_the_curve(looks: list[tuple[int, int]]) -> None:
    """A point tells the most that was held from there to the next one, however often it halves."""
    points, now_ms = curve_of(looks).points, 0
    assert len(points) <= POINTS_MAX
    assert [at_ms for at_ms, _ in points] == sorted({at_ms for at_ms, _ in points})
    for wait_ms, held in looks:
        now_ms += wait_ms
        before = [most for at_ms, most in points if at_ms <= now_ms]
        assert before[-1] >= held
    assert max((most for _, most in points), default=0) == max(
        (held for _, held in looks), default=0
    )


def test_a_long_attempt_is_covered_from_end_to_end() -> None:
    """After ten hours of a look each 100 ms half of the points are there still, evenly spread."""
    points = curve_of([(100, number) for number in range(36_000)]).points
    gaps = {later[0] - earlier[0] for earlier, later in pairwise(points)}
    assert len(points) >= POINTS_MAX // 2
    assert max(gaps) <= 1.25 * min(gaps)
    assert points[0] == (100, points[0][1])


def test_a_short_attempt_is_told_as_it_was() -> None:
    """Looks that lie apart stay apart."""
    assert curve_of([(0, 5), (20, 7), (20, 6)]).points == ((0, 5), (20, 7), (40, 6))
