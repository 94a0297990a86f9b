"""footprints: what was learned of profiles.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .snapshot import Snapshot
from .statements import read_statements

_SQL: Final = read_statements("footprints")


def footprints(db: Snapshot, profiles: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return what each known profile holds."""
    found = ((profile, db.rows(_SQL["footprint"], (profile,))) for profile in profiles)
    return {profile: dict(rows) for profile, rows in found if rows}
