"""JSON in and out: what comes back as it went in, and what is refused with a SerializationError."""

from __future__ import annotations

import enum
import json
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import SerializationError
from penstock.serializers.json import DEPTH_MAX, JsonReader, JsonWriter, refuse_deep


class Colour(enum.Enum):
    """An enum with text values."""

    RED = "red"


@dataclass
class Point:
    """A dataclass with a nested one."""

    x: int
    near: Point | None = None


class Span(msgspec.Struct):
    """A msgspec model."""

    start: datetime
    length: timedelta


class Order(pydantic.BaseModel):
    """A pydantic model with an alias."""

    number: int = pydantic.Field(alias="no")
    paid: bool = False
    when: date


ROUND_TRIPS: list[tuple[Any, Any]] = [
    (int, 2**63 - 1),
    (int, 10**300),
    (float, 0.1),
    (str, 'a\0b \N{SNOWMAN} \\ " \U0001f600'),
    (bytes, b"\x00\xff"),
    (Decimal, Decimal("1.10")),
    (uuid.UUID, uuid.UUID(int=5)),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(hours=30, microseconds=1)),
    (Colour, Colour.RED),
    (Path, Path("/tmp/a b")),  # noqa: S108 - a value, no file
    (list[PurePosixPath], [PurePosixPath("a"), PurePosixPath("b/c")]),
    (set[int], {1, 2, 3}),
    (tuple[int, str], (1, "a")),
    (dict[str, list[int | None]], {"a": [1, None], "": []}),
    (dict[int, str], {1: "one"}),
    (Point, Point(1, Point(2))),
    (Span, Span(datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1))),
    (Order, Order(no=7, when=date(2026, 1, 1))),
    (list[Order], [Order(no=7, paid=True, when=date(2026, 1, 1))]),
]


@pytest.mark.parametrize(("wanted", "value"), ROUND_TRIPS, ids=lambda part: str(part)[:40])
def test_value_comes_back_as_its_type(wanted: Any, value: Any) -> None:
    """What is written and read as its type equals what went in."""
    read = JsonReader(wanted).read(JsonWriter().write(value, "it"), "it")
    assert read == value
    assert type(read) is type(value)


def nested(levels: int) -> list[Any]:
    """Return a list in a list in a list ..., `levels` deep."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def itself() -> list[Any]:
    """Return a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


UNWRITABLE: dict[str, tuple[Any, str]] = {
    "nan": (math.nan, "nan"),
    "infinity": ({"a": [1.0, math.inf]}, "inf"),
    "nan beside null": ([None, math.nan], "nan"),
    "nan in a dataclass": (Point(x=math.nan), "nan"),  # type: ignore[arg-type]
    "nan in a model": (Order.model_construct(number=math.nan, when=date(2026, 1, 1)), "nan"),
    "lone surrogate": ("\ud800", "surrogate"),
    "lone surrogate as key": ({"\udfff": 1}, "surrogate"),
    "too deep": (nested(DEPTH_MAX + 1), "deeper than 64"),
    "far too deep": (nested(100_000), "deeper than 64"),
    "holds itself": (itself(), "contains itself"),
    "too many digits": (10**5_000, "4300 digits"),
    "any object": (object(), "object has no JSON form"),
    "a function": ({"f": len}, "has no JSON form"),
    "tuple as key": ({(1, 2): 3}, "tuple"),
    "complex": (1j, "complex has no JSON form"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_json_cannot_hold_is_refused(name: str) -> None:
    """Each kind of unwritable value raises SerializationError, which names the cause."""
    value, cause = UNWRITABLE[name]
    with pytest.raises(SerializationError, match=cause):
        JsonWriter().write(value, "argument")


def test_error_of_a_hook_is_a_serialization_error() -> None:
    """Whatever a user's model raises while it is written comes out as SerializationError."""

    class Broken(pydantic.BaseModel):
        @pydantic.field_serializer("n", check_fields=False)
        def explode(self, _value: int) -> int:
            raise ZeroDivisionError

        n: int = 1

    with pytest.raises(SerializationError):
        JsonWriter().write(Broken(), "argument")


UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"a": [1, 2',
    "not JSON": b"\x80\x04pickle",
    "NaN": b"NaN",
    "infinity": b"[1e999]",
    "far too deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a million digits": b"1" * 1_000_000,
    "lone surrogate": b'"\\ud800"',
    "bad UTF-8": b'"\xff"',
    "trailing text": b"1 2",
    "raw newline": b'"a\nb"',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_broken_documents_are_refused(name: str) -> None:
    """Each kind of broken document raises SerializationError and nothing else."""
    with pytest.raises(SerializationError, match="payload"):
        JsonReader().read(UNREADABLE[name], "payload")


def test_value_of_another_type_is_refused() -> None:
    """A document that does not fit the type raises, and the message says where."""
    with pytest.raises(SerializationError, match=r"Expected `int`, got `str` - at `\$\[1\]`"):
        JsonReader(list[int]).read(b'[1, "2"]', "result")


def test_type_that_cannot_be_read_is_named() -> None:
    """A reader of a type that msgspec cannot read fails when it is made."""
    with pytest.raises(SerializationError, match="is not a type that JSON can be read as"):
        JsonReader(int | Point | Span)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(alphabet='[]{}"\\ a\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='[]{}"\\'), inner),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    """Return the levels of arrays and objects of a plain value."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(inner=JSON, around=st.integers(0, DEPTH_MAX + 3), width=st.integers(0, DEPTH_MAX + 5))
def test_depth_is_counted_as_nesting(inner: Any, around: int, width: int) -> None:
    """Brackets in strings and side by side do not count, nested ones do: 64 pass, 65 do not."""
    value = [inner, [[]] * width, "[" * 80]
    for level in range(around):
        value = [value] if level % 2 else {'"[': value}  # type: ignore[assignment]
    text = json.dumps(value).encode()
    if depth_of(value) <= DEPTH_MAX:
        refuse_deep(text, "it")
    else:
        with pytest.raises(SerializationError):
            refuse_deep(text, "it")


def test_canonical_writer_gives_equal_values_equal_bytes() -> None:
    """The order of keys and of set members does not show in canonical JSON."""
    write = JsonWriter(canonical=True).write
    assert write({"b": {1, 2}, "a": 1}, "it") == write({"a": 1, "b": {2, 1}}, "it")
