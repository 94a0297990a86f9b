"""footprints: what was learned of profiles.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from .store import Store


def footprints(store: Store, profiles: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return what each known profile holds. Cost: O(fields)."""
    return {name: dict(store.footprints[name]) for name in profiles if name in store.footprints}
