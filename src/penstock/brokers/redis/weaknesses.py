"""Versions of Redis and Valkey through which an allowed user can take over the server (SEC24).

Told by `doctor`, not refused: distributions mend old versions without a new number, and who has the
password of Penstock's user is trusted with all jobs anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Version = tuple[int, int, int]

#: Flaws of the Lua interpreter: use after free, integer overflow, code run as another user.
_LUA: Final = "CVE-2025-49844, CVE-2025-46817 and CVE-2025-46818 (scripts)"
#: First versions without them, by release line; Redis 7.0 has none of its own, later lines have
#: begun without them. From the release notes of October 2025.
_LUA_MENDED: Final[Mapping[str, tuple[Version, ...]]] = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
#: A flaw of blocked clients that are evicted, in Redis from and up to these versions.
_BLOCKED: Final = "CVE-2026-23479 (blocked clients)"
_BLOCKED_FROM: Final = (7, 2, 0)
_BLOCKED_MENDED: Final = (8, 6, 3)


def weaknesses(kind: str, text: str) -> tuple[str, ...]:
    """Return advice on a server's version; nothing where it cannot be read.

    Args:
        kind: "redis" or "valkey".
        text: its version.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        return ()
    version = (int(found[1]), int(found[2]), int(found[3]))
    known = []
    if _has_lua_flaws(version, _LUA_MENDED[kind]):
        known.append(_LUA)
    if kind == "redis" and _BLOCKED_FROM <= version < _BLOCKED_MENDED:
        known.append(_BLOCKED)
    return tuple(
        f"{kind.capitalize()} {text} is known for {flaw}, by which a user who may log in can take "
        "the server over: upgrade it, unless your distribution says that its package is mended"
        for flaw in known
    )


def _has_lua_flaws(version: Version, mended: tuple[Version, ...]) -> bool:
    for first in mended:
        if first[:2] == version[:2]:
            return version < first
    return version < mended[-1]
