"""JSON as people write it on a command line."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from penstock.errors import BadSetting, SerializationError

#: What JSON writes without quotes; any other letter outside of quotes has lost its own.
_BARE: Final = re.compile(r"true|false|null|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LETTER: Final = re.compile(r"[^\W\d_]")


def json_value(text: str, what: str) -> Any:
    """Return the value that `text` holds; `what` names it in errors.

    Raises:
        BadSetting: not JSON, nested too deep, or an object has a name twice.
    """
    from penstock.serializers.json import DEPTH_MAX, refuse_deep

    try:
        value = msgspec.json.decode(text)
        refuse_deep(text.encode(), what)
    except RecursionError:
        raise BadSetting(
            f"{what} is nested deeper than {DEPTH_MAX} levels: flatten it, or store it elsewhere "
            "and pass where"
        ) from None
    except SerializationError as error:
        raise BadSetting(str(error)) from None
    except msgspec.DecodeError as error:
        # Without the text, which may hold a secret: nobody knows what a slip of the pen has hit.
        raise BadSetting(f"{what}: this is not JSON: {_cause(text, error)}") from None
    _refuse_twice(text, what)
    return value


def _refuse_twice(text: str, what: str) -> None:
    """Refuse objects with a name twice: readers disagree on which of the values holds."""
    import json

    def once(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadSetting(f"{what} has the name {name!r:.80} twice in one object: keep one")
            seen.add(name)

    json.loads(text, object_pairs_hook=once)


def _cause(text: str, error: msgspec.DecodeError) -> str:
    """Return what is wrong, and the way out where the shell may have taken the quotes away."""
    if '"' not in text and _LETTER.search(_BARE.sub("", text)):
        return f"""{error}; quote it for the shell, as '{{"name": "value"}}'"""
    try:
        import json

        json.loads(text)
    except (ValueError, RecursionError) as told:
        # It names the place, and what was expected there.
        return str(told)
    if r"\u" in text:
        return (
            "a \\u escape in it is half of a surrogate pair: write both halves, or the sign itself"
        )
    return str(error)
