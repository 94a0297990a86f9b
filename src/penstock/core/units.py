"""Durations and sizes as people write them, turned into milliseconds and bytes once."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final, NewType

from penstock.errors import BadSetting

EpochMs = NewType("EpochMs", int)
"""An instant: milliseconds since 1970-01-01 UTC."""

#: How a duration may be written, for messages.
_DURATION_TEXTS: Final = "'30s', '15min', '1h', '7d', '1h30min'"

_DURATION_MS: Final = {
    "ms": 1, "s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000,
}  # fmt: skip
_SIZE_BYTES: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|min|[smhd])\s*")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\Z")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?B|B)\Z")

#: A hundred years: beyond it a duration is a mistake in units, and sums stay inside 53 bits.
DURATION_MS_MAX: Final = 100 * 365 * 86_400_000
Duration = float | int | timedelta | str


def duration_ms(value: object, *, name: str = "", is_outside: bool = False) -> int:
    """Turn seconds, a timedelta or text such as "30s" or "1h30min" into milliseconds.

    Args:
        value: to be turned.
        name: what it is the value of, for messages.
        is_outside: it comes from a flag, a variable or a file, where every number is text: text
            without a unit is seconds. In a program such text is refused, its unit is a guess.

    Raises:
        BadSetting: negative, not finite, over a hundred years, or not readable.
    """
    if isinstance(value, timedelta):
        ms = value.total_seconds() * 1000
    elif isinstance(value, str):
        ms = _parse_duration(value, is_outside=is_outside)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        ms = value * 1000
    else:
        ms = math.nan
    if 0 <= ms <= DURATION_MS_MAX:
        return round(ms)
    why = "it must not be negative; " if ms < 0 else ""
    forms = "seconds" if is_outside else "seconds, timedelta"
    raise BadSetting(
        f"{_called(name, value)} is not a duration: {why}give {forms}, or text such as "
        f"{_DURATION_TEXTS}, from 0 to 100 years"
    )


def _parse_duration(text: str, *, is_outside: bool) -> float:
    """Return milliseconds, NaN for what is no duration; what is negative stays so."""
    whole = text.strip()
    stripped = whole.removeprefix("-")
    sign = 1 if stripped == whole else -1
    if is_outside and _NUMBER.match(stripped):
        return sign * float(stripped) * 1000
    total, at = 0.0, 0
    while at < len(stripped):
        part = _PART.match(stripped, at)
        if part is None:
            break
        total += float(part[1]) * _DURATION_MS[part[2]]
        at = part.end()
    return math.nan if at == 0 or at < len(stripped) else sign * total


def _called(name: str, value: object) -> str:
    """Return a value for a message, cut where it is long, after its name if it has one."""
    return f"{name} {value!r:.80}".lstrip()


def size_bytes(value: object, *, name: str = "") -> int:
    """Turn bytes or text such as "2GiB" or "500MB" into bytes.

    Raises:
        BadSetting: negative or not readable; a bare number in text is refused, since its unit is
            a guess.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    part = _SIZE.match(value.strip()) if isinstance(value, str) else None
    if part is None:
        raise BadSetting(
            f"{_called(name, value)} is not a size: give bytes, or text such as '512MiB' or '2GiB'"
        )
    return round(float(part[1]) * _SIZE_BYTES[part[2]])
