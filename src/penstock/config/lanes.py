"""The table `[lanes]` of the settings file: another way to write the settings of the light lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import BadSetting

LANES: Final = "lanes"
_LIGHT: Final = "light"
#: Key of `[lanes] light` -> the setting that it stands for.
KEYS: Final[Mapping[str, str]] = {
    "reserve": "light",
    "max_runtime": "light_runtime_max",
    "max_memory": "light_memory_max",
}


def without_lanes(source: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what a file says, with the settings that `[lanes]` stands for in its place.

    Raises:
        BadSetting: it has another lane or key than there is, or says a setting twice.
    """
    found = dict(source)
    lanes = found.pop(LANES, None)
    if lanes is None:
        return found
    example = "[lanes] light = { reserve = 2, max_runtime = '500ms', max_memory = '128MiB' }"
    if not isinstance(lanes, Mapping) or _LIGHT not in lanes:
        raise BadSetting(f"[{LANES}] of {where} names no lane: write {example}")
    if not isinstance(lanes[_LIGHT], Mapping):
        told = f"{lanes[_LIGHT]!r:.80}, and no table"
        raise BadSetting(f"{_LIGHT} of [{LANES}] in {where} is {told}: write {example}")
    if unknown := sorted(set(lanes) - {_LIGHT}):
        raise BadSetting(f"lane {unknown[0]!r:.80} of {where} is unknown: there is {_LIGHT} alone")
    for key, value in lanes[_LIGHT].items():
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise BadSetting(f"key {key!r:.80} of [{LANES}] {_LIGHT} in {where}: use {known}")
        if KEYS[key] in found:
            raise BadSetting(
                f"{KEYS[key]} and {key} of [{LANES}] {_LIGHT} in {where} are the same setting: "
                "keep one of them"
            )
        found[KEYS[key]] = value
    return found
