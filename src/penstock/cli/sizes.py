"""Sizes of memory as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
#: Of one unit; what would be rounded up to 1024 of it is 1 of the next.
_NEXT_AT: Final = 1023.5
#: From here on the fraction does not matter.
_WHOLE_AT: Final = 9.95


def size(size_bytes: int) -> str:
    """Return a size in its largest unit, with two digits at least: "812 MiB", "1.1 GiB"."""
    value, unit = float(size_bytes), 0
    while value >= _NEXT_AT and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    digits = f"{value:.0f}" if value >= _WHOLE_AT else f"{value:.1f}".removesuffix(".0")
    return f"{digits} {_UNITS[unit]}"
