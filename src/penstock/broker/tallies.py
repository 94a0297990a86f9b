"""Tallies, added up before they are written: each field of each profile once, in one order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from penstock.broker.requests import Tally


def summed(tallies: Sequence[Tally]) -> dict[str, dict[str, float]]:
    """Return profile -> field -> what all tallies together add, both in order of their names.

    The order keeps two calls that write the same rows from locking them crosswise. Profiles to
    which nothing is added are left out.
    """
    found: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for tally in tallies:
        for field, amount in tally.adds.items():
            found[tally.profile][field] += amount
    return {profile: dict(sorted(found[profile].items())) for profile in sorted(found)}
