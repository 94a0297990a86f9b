"""Instants and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

#: (milliseconds, unit) from the largest; two neighbouring units are shown.
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def seconds(text: str | None, option: str) -> float | None:
    """Return what a flag says as seconds: "30", "30s", "1h30min"; None where it is not given.

    Raises:
        BadSetting: it is no duration; the message names `option`.
    """
    from penstock.core.units import duration_ms

    return None if text is None else duration_ms(text, name=option, is_outside=True) / 1000


def span(ms: int) -> str:
    """Return a duration in its two largest units: "3 d 4 h", "1 min 5 s", "0.42 s", "-2 s"."""
    if ms < 0:
        return f"-{span(-ms)}"
    if ms < 10_000:  # noqa: PLR2004 - below ten seconds the fraction matters
        return f"{ms / 1000:.2f} s"
    parts: list[str] = []
    for size, unit in _UNITS:
        count, ms = divmod(ms, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def instant(at_ms: int | None) -> str:
    """Return an instant as UTC with milliseconds, or "-" for None."""
    if at_ms is None:
        return "-"
    at = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d}Z"
