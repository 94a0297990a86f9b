"""Which parameters are secret: those whose annotation holds a `Secret`, at any depth.

Their arguments are taken out of a call whole, to be encrypted.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from penstock.core.secret import Secret
from penstock.errors import BadArguments
from penstock.serializers.json import JsonWriter

#: What tells dataclasses, structs, attrs classes, named tuples and typed dicts from other classes.
_WITH_FIELDS: Final = (
    "__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "_fields", "__total__",
)  # fmt: skip


def holds_secret(hint: Any) -> bool:
    """Return whether a value of this annotation may hold a Secret.

    Looked through are unions, containers, `Annotated`, and the fields of dataclasses, structs,
    typed dicts and the like. A pydantic model is not: it writes its fields itself.
    """
    return _holds(hint, set())


def _holds(hint: Any, seen: set[Any]) -> bool:
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, type) and issubclass(kind, Secret):
        return True
    if any(_holds(part, seen) for part in typing.get_args(hint)):
        return True
    if kind in seen or not any(hasattr(kind, mark) for mark in _WITH_FIELDS):
        return False
    seen.add(kind)
    try:
        fields = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - a class that only a type checker can read; msgspec will say
        return False
    return any(_holds(field, seen) for field in fields.values())


def part(
    given: Mapping[str, Any],
    secret: Collection[str],
    decode: Callable[[bytes], Any],
    shown: tuple[str, str],
) -> tuple[bytes, bytes | None]:
    """Return the arguments that may be shown as one JSON object, and the others; None: none.

    Args:
        given: the arguments of a call.
        secret: names of secret parameters.
        decode: reads all of them, to see that a worker could.
        shown: what the arguments are, and the signature, for errors.

    Raises:
        BadArguments: an argument does not fit its annotation.
        SerializationError: JSON cannot hold one, or a Secret is where no annotation tells of it.
    """
    what, signature = shown
    plain = {name: value for name, value in given.items() if name not in secret}
    hidden = {name: value for name, value in given.items() if name in secret}
    text = JsonWriter().write(plain, what)
    secrets = JsonWriter(reveals=True).write(hidden, f"secret {what}")
    comma = b"," if plain and hidden else b""
    try:
        decode(text[:-1] + comma + secrets[1:])
    except Exception:  # noqa: BLE001 - what a type's own hooks raise may show an argument
        raise BadArguments(
            f"{what} do not fit their annotations; which one is not shown, since a Secret is among "
            f"them; the signature is {signature}"
        ) from None
    return text, secrets if hidden else None
