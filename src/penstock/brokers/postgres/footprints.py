"""footprints: what was learned of profiles.

transitions: none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("footprints")


def footprints(tx: Transaction, profiles: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return what each known profile holds."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for profile, field, amount in tx.rows(_SQL["footprints"], {"profiles": list(profiles)}):
        found[profile][field] = amount
    return dict(found)
