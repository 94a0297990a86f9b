"""learn: add to the footprints of profiles.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import Tally
from penstock.broker.tallies import summed

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("learn")


def learn(tx: Transaction, tallies: Sequence[Tally]) -> None:
    """Add each amount to what its field holds."""
    tx.each(
        _SQL["learn"],
        [
            (profile, field, amount)
            for profile, adds in summed(tallies).items()
            for field, amount in adds.items()
        ],
    )
