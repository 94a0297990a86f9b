"""learn: add to the footprints of profiles.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import Tally
from penstock.broker.tallies import summed

from .store import Store


def learn(store: Store, tallies: Sequence[Tally]) -> None:
    """Add each amount to what its field holds. Cost: O(fields)."""
    for profile, adds in summed(tallies).items():
        known = store.footprints[profile]
        for field, amount in adds.items():
            known[field] += amount
