"""`penstock explain` by intervention: what is named stands in the way, and nothing else does."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.explained import checked, flaws, not_named
from tests.support.situations import KINDS, Situation

#: Situations of `make test`; `make proof AREA=explain` checks 1,000 of other seeds.
SITUATIONS = 120


def test_what_is_named_stands_in_the_way_and_nothing_else() -> None:
    """All of it taken away, the job starts; with any of it left, or by any other way, not."""
    found = list(checked(1_000_000, SITUATIONS))
    assert [(one.seed, one.flaws) for one in found if one.flaws] == []
    # Every kind is met, or the rest of this says little.
    assert {kind for one in found for kind in one.kinds} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_blocker_too_few_or_too_many_is_seen(kind: str) -> None:
    """The check itself: an explanation that leaves one out, or adds one, does not pass."""
    with_it = next(one for one in checked(0, 500) if kind in one.kinds)
    with Situation(with_it.seed) as here:
        found = here.explain()
    named = frozenset(found.kinds)
    too_few = msgspec.structs.replace(found, kinds=tuple(named - {kind}))
    assert list(flaws(with_it.seed, too_few))
    other = next(one for one in KINDS if one in not_named(found))
    too_many = msgspec.structs.replace(found, kinds=(*found.kinds, other))
    assert list(flaws(with_it.seed, too_many))
