"""As what JSON is read for an annotation that msgspec does not take as it stands."""

from __future__ import annotations

import functools
import operator
import types
import typing
from pathlib import PurePath
from typing import Any


def readable(hint: Any) -> Any:
    """Return the annotation as which msgspec reads a parameter.

    msgspec allows a path in a union only beside None; where text is allowed too, text is what the
    function gets.
    """
    if not isinstance(hint, types.UnionType) and typing.get_origin(hint) is not typing.Union:
        return hint
    members = typing.get_args(hint)
    if str not in members:
        return hint
    kept = [m for m in members if not (isinstance(m, type) and issubclass(m, PurePath))]
    return functools.reduce(operator.or_, kept)
