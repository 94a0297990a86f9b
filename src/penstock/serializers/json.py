"""JSON of arguments, results, progress and checkpoints, with one kind of error for all that fails.

msgspec writes and reads JSON and the types it knows (dataclasses, attrs, structs, datetime, UUID,
enums, bytes, Decimal, sets, ...); paths and pydantic models come through the hooks below. What
JSON cannot hold is refused when it is written: NaN and infinities (msgspec writes null for them),
lone surrogates, nesting past `DEPTH_MAX`.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final, Literal

import msgspec

from penstock.core.secret import Secret
from penstock.errors import SerializationError

#: Levels of nested arrays and objects in one document (reliability page, SEC14); real data has few,
#: and readers in other languages give up not far above.
DEPTH_MAX: Final = 64
#: Bytes under which a document cannot be too deep: each level takes an opening and a closing byte.
_SHALLOW_BYTES: Final = 2 * DEPTH_MAX
#: Both kinds of brackets become one, and all else goes.
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
#: Characters of a value shown in an error.
_SHOWN_CHARS: Final = 120


def to_plain(value: Any) -> Any:
    """Turn a value that msgspec does not know into one that it does: the encoding hook.

    Pydantic models are written by alias and for the round trip, since that is how they are read.

    Raises:
        TypeError: neither a path nor a pydantic model; or a Secret, which is written nowhere but in
            the arguments that are encrypted.
    """
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "model_dump") and hasattr(type(value), "model_validate"):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    if isinstance(value, Secret):
        raise TypeError(
            "a Secret is stored only as an argument whose annotation says so, as `token: "
            "Secret[str]` does"
        )
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def to_revealed(value: Any) -> Any:
    """Turn a value into one that msgspec knows as `to_plain` does, a Secret into what it holds.

    For what is encrypted or digested right away.
    """
    return value.reveal() if isinstance(value, Secret) else to_plain(value)


def from_plain(wanted: Any, value: Any) -> Any:
    """Turn what msgspec read into a type that it does not know: the decoding hook.

    Raises:
        TypeError: there is no way to make `wanted` from JSON; msgspec adds where in the document.
    """
    # Generic types of no kind that msgspec knows, such as Iterable[int], take what JSON gives.
    kind = typing.get_origin(wanted) or wanted
    if isinstance(kind, type):
        if issubclass(kind, Secret):
            return _secret(wanted, value)
        if issubclass(kind, PurePath) and isinstance(value, str):
            return kind(value)
        if hasattr(kind, "model_validate"):
            return wanted.model_validate(value)
        if isinstance(value, kind):
            return value
    name = getattr(wanted, "__qualname__", wanted)
    raise TypeError(f"{name} cannot be made from JSON {type(value).__name__}")


def _secret(wanted: Any, value: Any) -> Secret[Any]:
    inner = (*typing.get_args(wanted), Any)[0]
    try:
        return Secret(msgspec.convert(value, inner, dec_hook=from_plain, str_keys=True))
    except Exception:  # noqa: BLE001 - whatever a type's own hooks raise may show the value
        raise TypeError(f"what it holds is no {inner!r:.{_SHOWN_CHARS}}; it is not shown") from None


class JsonWriter:
    """Writes values as JSON.

    Args:
        canonical: True: equal values give equal bytes (keys and sets are sorted), for digests.
        reveals: True: what a Secret holds is written; else a Secret is refused.
    """

    __slots__ = ("_encode", "_hook")

    def __init__(self, *, canonical: bool = False, reveals: bool = False) -> None:
        order: Literal["deterministic"] | None = "deterministic" if canonical else None
        self._hook = to_revealed if reveals else to_plain
        self._encode: Callable[[Any], bytes] = msgspec.json.Encoder(
            enc_hook=self._hook, order=order
        ).encode

    def write(self, value: Any, what: str) -> bytes:
        """Return the JSON of `value`; `what` names it in errors.

        Raises:
            SerializationError: JSON cannot hold the value; nothing was written.

        Cost: under 0.3 us for a few plain arguments. Documents that hold a null are walked once.
        """
        try:
            text = self._encode(value)
            if b"null" in text:
                refuse_not_finite(value, what, self._hook)
        except SerializationError:
            raise
        except Exception as error:
            raise _unwritable(error, what) from error
        if len(text) > _SHALLOW_BYTES:
            refuse_deep(text, what)
        return text


class JsonReader:
    """Reads JSON as one type.

    Args:
        wanted: type or annotation; Any gives plain dicts, lists, strings, numbers.

    Attributes:
        decode: reads text that this process wrote just now: no check of its depth, and what
            msgspec or a hook raises comes out as it is.

    Raises:
        SerializationError: msgspec cannot read this type.
    """

    __slots__ = ("decode",)

    def __init__(self, wanted: Any = Any) -> None:
        try:
            decoder = msgspec.json.Decoder(wanted, dec_hook=from_plain)
        except TypeError as error:
            raise SerializationError(
                f"{wanted!r:.{_SHOWN_CHARS}} is not a type that JSON can be read as: {error}"
            ) from error
        self.decode: Callable[[bytes | msgspec.Raw], Any] = decoder.decode

    def read(self, text: bytes | msgspec.Raw, what: str) -> Any:
        """Return the value; `what` names it in errors.

        Raises:
            SerializationError: not JSON, nested too deep, or not of the type.
        """
        whole = bytes(text)
        if len(whole) > _SHALLOW_BYTES:
            refuse_deep(whole, what)
        try:
            return self.decode(whole)
        except Exception as error:
            raise SerializationError(f"{what} cannot be read: {error}") from error


def refuse_deep(text: bytes, what: str) -> None:
    """Refuse a document nested deeper than `DEPTH_MAX`.

    Raises:
        SerializationError: it is.

    Cost: two passes in C for a document with few brackets; else one pass per level.
    """
    if text.count(b"[") + text.count(b"{") <= DEPTH_MAX:
        return
    brackets = _brackets(text)
    for _level in range(DEPTH_MAX):
        # Each pass takes the innermost level away.
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise SerializationError(
        f"{what} is nested deeper than {DEPTH_MAX} levels: flatten it, or store it elsewhere and "
        "pass where"
    )


def _brackets(text: bytes) -> bytes:
    """Return the brackets of a document, all as square ones, without those inside strings."""
    # A string's own quotes are those not escaped; escaped backslashes come first.
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(bare.split(b'"')[::2])
    return outside.translate(_TO_SQUARE, _NO_BRACKETS)


def refuse_not_finite(value: Any, what: str, hook: Callable[[Any], Any] = to_plain) -> None:
    """Refuse NaN and infinities, which msgspec would write as null.

    Args:
        value: what was written.
        what: names it in errors.
        hook: as it was written with.

    Raises:
        SerializationError: there is one.
    """
    waiting = [msgspec.to_builtins(value, enc_hook=hook)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise SerializationError(
                f"{what} holds {part}, which JSON has no number for: pass None or text instead"
            )
        if isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)


def _unwritable(error: Exception, what: str) -> SerializationError:
    if isinstance(error, RecursionError):
        why = f"it is nested deeper than {DEPTH_MAX} levels, or contains itself"
    elif isinstance(error, UnicodeEncodeError):
        why = "it holds text with a lone surrogate, which UTF-8 cannot hold"
    else:
        why = str(error)
    return SerializationError(
        f"{what} cannot be written as JSON: {why:.{_SHOWN_CHARS * 4}}; pass plain values, "
        "dataclasses, msgspec or pydantic models"
    )
