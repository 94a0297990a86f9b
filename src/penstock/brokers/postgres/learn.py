"""learn: add to the footprints of profiles.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import Tally
from penstock.broker.tallies import summed

from . import arrays
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("learn")


def learn(tx: Transaction, tallies: Sequence[Tally]) -> None:
    """Add each amount to what its field holds."""
    items = [
        (profile, field, amount)
        for profile, adds in summed(tallies).items()
        for field, amount in adds.items()
    ]
    if items:
        profiles, fields, amounts = zip(*items, strict=True)
        values = {
            "profiles": arrays.texts(profiles),
            "fields": arrays.texts(fields),
            "amounts": list(amounts),
        }
        tx.send(_SQL["learn"], values)
