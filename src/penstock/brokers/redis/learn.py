"""learn, footprints: words of `lua/learn.lua`, and answers of `lua/footprints.lua`.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import Tally
from penstock.broker.tallies import summed

from .wire import Word


def words_of(tallies: Sequence[Tally]) -> list[Word]:
    """Return the arguments of the script. `repr` tells all digits of a number."""
    words: list[Word] = []
    for profile, adds in summed(tallies).items():
        words += (profile, len(adds))
        for field, amount in adds.items():
            words += (field, repr(amount))
    return words


def footprints_of(
    profiles: Sequence[str], answers: Sequence[Sequence[bytes]]
) -> dict[str, dict[str, float]]:
    """Return what each known profile holds."""
    return {
        profile: {
            field.decode(): float(amount)
            for field, amount in zip(found[::2], found[1::2], strict=True)
        }
        for profile, found in zip(profiles, answers, strict=True)
        if found
    }
