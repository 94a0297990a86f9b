"""Calls become payloads and payloads become calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NewType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadArguments, BadSetting, SerializationError
from penstock.tasks.signature import Signature

if TYPE_CHECKING:
    from decimal import Decimal

NewNumber = NewType("NewNumber", int)


def plain(path: str, k: int = 8, *, loud: bool = False) -> None:
    """Take parameters of the common kinds."""


def everything(
    a: int, b: int = 2, /, c: int = 3, *rest: int, d: int, e: int = 5, **more: int
) -> tuple[object, ...]:
    """Take parameters of all kinds, and return them."""
    return a, b, c, rest, d, e, more


def signature(function: Callable[..., Any]) -> Signature:
    """Return the signature of a task of this name."""
    return Signature("unit.task", function)


def test_same_arguments_give_the_same_payload() -> None:
    """Positional or by name, in any order: the payload is the same bytes."""
    of = signature(plain)
    expected = b'{"path":"a","k":3,"loud":true}'
    assert of.payload(("a", 3), {"loud": True}) == expected
    assert of.payload(("a",), {"loud": True, "k": 3}) == expected
    assert of.payload((), {"loud": True, "k": 3, "path": "a"}) == expected


def test_defaults_are_left_out_and_come_from_the_function() -> None:
    """A parameter that the call leaves out is not in the payload, nor in the call made of it."""
    of = signature(plain)
    assert of.payload(("a",), {}) == b'{"path":"a"}'
    assert of.call(b'{"path":"a"}') == ((), {"path": "a"})


small = st.integers(0, 9)


@given(
    positional=st.lists(small, max_size=6),
    named=st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "x", "rest", "more"]), small),
)
def test_every_call_of_every_kind_of_parameter_survives(
    positional: list[int], named: dict[str, int]
) -> None:
    """A call through its payload gives what the direct call gives, or both are refused."""
    of = signature(everything)
    try:
        inspect.signature(everything).bind(*positional, **named)
    except TypeError:
        with pytest.raises(BadArguments):
            of.payload(positional, named)
        return
    args, kwargs = of.call(of.payload(positional, named))
    assert everything(*args, **kwargs) == everything(*positional, **named)


@pytest.mark.parametrize(
    ("args", "kwargs", "cause"),
    [
        ((), {}, "missing a required argument: 'path'"),
        (("a", 1, 2), {}, "too many positional arguments"),
        (("a",), {"path": "b"}, "multiple values for argument 'path'"),
        (("a",), {"colour": 1}, "unexpected keyword argument 'colour'"),
        (("a", "b"), {}, r"Expected `int`, got `str` - at `\$.k`"),
        ((None,), {}, "Expected `str`, got `null`"),
    ],
)
def test_call_that_does_not_fit_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], cause: str
) -> None:
    """The error names the task, what is wrong, and the signature to keep to."""
    with pytest.raises(BadArguments, match=cause) as caught:
        signature(plain).payload(args, kwargs)
    assert "unit.task" in str(caught.value)
    assert "(path: 'str', k: 'int' = 8" in str(caught.value)


def test_argument_that_json_cannot_hold_is_refused() -> None:
    """A value without a JSON form is a SerializationError that names the task."""

    def anything(value: object) -> None: ...

    with pytest.raises(SerializationError, match=r"arguments of task unit\.task"):
        signature(anything).payload((float("nan"),), {})


@dataclass
class Box:
    """A dataclass argument."""

    lid: Path
    made: datetime


def typed(box: Box, path: str | Path, *when: datetime, **lids: Path) -> None:
    """Take annotated parameters."""


def test_arguments_come_back_typed() -> None:
    """Dataclasses, datetimes and paths are read as the annotations say."""
    box = Box(Path("lid"), datetime(2026, 1, 1, tzinfo=UTC))
    of = signature(typed)
    args, kwargs = of.call(of.payload((box, Path("p"), box.made), {"x": Path("y")}))
    # Where text is allowed beside a path, text is what arrives.
    assert args == (box, "p", box.made)
    assert kwargs == {"x": Path("y")}


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", "cannot be read"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `path`"),
        (b'{"path":"a","shade":1}', "unknown field `shade`"),
        (b'{"path":1}', "Expected `str`, got `int`"),
        (b'{"path":' + b"[" * 90_000 + b"]" * 90_000 + b"}", "nested deeper than 64"),
    ],
)
def test_unreadable_payload_is_named(payload: bytes, cause: str) -> None:
    """A payload that does not fit raises SerializationError, which says why."""
    with pytest.raises(SerializationError, match=cause):
        signature(plain).call(payload)


def test_annotation_that_cannot_be_resolved_is_named() -> None:
    """A name that exists for type checkers only is refused with the way out."""

    def unresolved(price: Decimal) -> None: ...

    with pytest.raises(BadSetting, match=r"'Decimal' is not defined.*outside `if TYPE_CHECKING:`"):
        signature(unresolved).check()


def test_annotation_that_json_cannot_give_is_named() -> None:
    """A type that msgspec cannot read is refused, and the parameter is named."""

    def unreadable(one: int, two: Box | Signature) -> None: ...

    with pytest.raises(BadSetting, match="parameter 'two'"):
        signature(unreadable).check()


def test_parameter_that_python_rewrites_is_refused() -> None:
    """A name that begins with two underscores cannot be a payload's name."""

    def mangled(*, __x: int) -> None: ...

    with pytest.raises(BadSetting, match="parameter '__x' begins with two underscores"):
        signature(mangled).payload((), {"__x": 1})


def loose(
    self: int, _: Iterable[int], model: NewNumber, limited: Annotated[int, msgspec.Meta(gt=0)]
) -> None:
    """Take what is not common, but read all the same."""


def test_uncommon_annotations_and_names_work() -> None:
    """Iterables, new types, limits, and parameters called `self` or `_`."""
    of = signature(loose)
    payload = of.payload((1, [2], NewNumber(3), 4), {})
    assert of.call(payload) == ((), {"self": 1, "_": [2], "model": 3, "limited": 4})
    with pytest.raises(BadArguments, match=r"Expected `int` >= 1 - at `\$.limited`"):
        of.payload((1, [2], NewNumber(3), 0), {})


def test_digest_depends_on_values_only() -> None:
    """Equal arguments have one digest, others another, whatever the order of keys and sets."""

    def labelled(names: set[str], limits: dict[str, int]) -> None: ...

    of = signature(labelled)
    one = of.digest(({"a", "b", "c"},), {"limits": {"x": 1, "y": 2}})
    assert one == of.digest((), {"limits": {"y": 2, "x": 1}, "names": {"c", "b", "a"}})
    assert one != of.digest(({"a", "b"},), {"limits": {"x": 1, "y": 2}})


def test_result_is_read_as_the_return_annotation() -> None:
    """A result comes back typed; without an annotation as plain JSON."""

    def boxed() -> Box: ...  # type: ignore[empty-body]

    def bare():  # type: ignore[no-untyped-def]  # noqa: ANN202
        ...

    text = b'{"lid":"a","made":"2026-01-01T00:00:00Z"}'
    assert signature(boxed).result(text) == Box(Path("a"), datetime(2026, 1, 1, tzinfo=UTC))
    assert signature(bare).result(b'{"a":[1]}') == {"a": [1]}
    with pytest.raises(SerializationError, match="result of task"):
        signature(boxed).result(b'{"lid":1}')
