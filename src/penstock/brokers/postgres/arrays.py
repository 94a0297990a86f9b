"""Arrays as PostgreSQL receives them in binary, for statements that take many jobs at once.

psycopg writes a list item by item in Python, 0.5 us each; a batch of 500 jobs has twelve lists.
Here ids are one call into C, and a list of equal values is one value repeated. Layout: `array_recv`
in https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg.pq import Format

#: Dimensions, whether NULLs may come, type of the items; of the one dimension: items, first number.
_HEAD: Final = struct.Struct("!IIIII")
_SIZE: Final = struct.Struct("!i")
_NULL: Final = _SIZE.pack(-1)
#: Size of an id, as hexadecimal digits.
_ID_SIZE: Final = "00000010"


class _Array(bytes):
    """An array that is written out already; its subclasses say of what."""

    item_oid = 0


class Uuids(_Array):
    """Of type uuid[]."""

    item_oid = psycopg.adapters.types["uuid"].oid


class Texts(_Array):
    """Of type text[]."""

    item_oid = psycopg.adapters.types["text"].oid


class Byteas(_Array):
    """Of type bytea[]."""

    item_oid = psycopg.adapters.types["bytea"].oid


class Bools(_Array):
    """Of type boolean[]."""

    item_oid = psycopg.adapters.types["bool"].oid


class Bigints(_Array):
    """Of type bigint[]; statements cast it where a column is smaller."""

    item_oid = psycopg.adapters.types["int8"].oid


def uuids(items: Sequence[str]) -> Uuids:
    """Return an array of ids, each 32 hexadecimal digits."""
    cells = bytes.fromhex(_ID_SIZE + _ID_SIZE.join(items)) if items else b""
    return Uuids(_head(Uuids, len(items)) + cells)


def texts(items: Sequence[str | None]) -> Texts:
    """Return an array of texts."""
    return Texts(_head(Texts, len(items)) + _cells(items, str.encode))


def byteas(items: Sequence[bytes | None]) -> Byteas:
    """Return an array of byte strings."""
    return Byteas(_head(Byteas, len(items)) + _cells(items, bytes))


def bools(items: Sequence[bool]) -> Bools:
    """Return an array of truth values."""
    return Bools(_head(Bools, len(items)) + _cells(items, struct.Struct("!?").pack))


def bigints(items: Sequence[int | None]) -> Bigints:
    """Return an array of whole numbers."""
    return Bigints(_head(Bigints, len(items)) + _cells(items, struct.Struct("!q").pack))


def register(adapters: AdaptersMap) -> None:
    """Let a connection or a cursor take these arrays as parameters."""
    for dumper in _DUMPERS:
        adapters.register_dumper(dumper.of, dumper)


def _head(kind: type[_Array], count: int) -> bytes:
    return _HEAD.pack(1, 1, kind.item_oid, count, 1)


def _cells(items: Sequence[Any], encode: Callable[[Any], bytes]) -> bytes:
    if items and items.count(items[0]) == len(items):
        return _cell(items[0], encode) * len(items)
    return b"".join([_cell(item, encode) for item in items])


def _cell(item: Any, encode: Callable[[Any], bytes]) -> bytes:
    if item is None:
        return _NULL
    value = encode(item)
    return _SIZE.pack(len(value)) + value


class _Dumper(Dumper):
    format = Format.BINARY
    of: type[_Array] = _Array

    def dump(self, obj: _Array) -> Buffer:
        return obj


def _dumper_of(kind: type[_Array]) -> type[_Dumper]:
    oid = psycopg.adapters.types[kind.item_oid].array_oid
    return type(f"{kind.__name__}Dumper", (_Dumper,), {"oid": oid, "of": kind})


_DUMPERS: Final = tuple(_dumper_of(kind) for kind in (Uuids, Texts, Byteas, Bools, Bigints))
