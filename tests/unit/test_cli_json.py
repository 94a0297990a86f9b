"""JSON as people write it: what readers would read in two ways is refused."""

from __future__ import annotations

import pytest

from penstock.cli.json_text import json_value
from penstock.errors import BadSetting


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '[{"b": 1}, {"x": {"a": null, "b": 1, "a": null}}]',
        '{"a": 1, "\\u0061": 2}',
        "{" + ", ".join(['"a": 1'] * 10_000) + "}",
    ],
)
def test_a_name_twice_in_one_object_is_refused(text: str) -> None:
    """Readers disagree on which of the values holds, also where it is written in two ways."""
    with pytest.raises(BadSetting, match="has the name 'a' twice in one object: keep one"):
        json_value(text, "the arguments")


def test_equal_names_of_different_objects_are_none_of_that() -> None:
    """Each object has its own."""
    text = '[{"a": 1}, {"a": {"a": 2}}, {"b": [{"a": 1}, {"a": 1}]}]'
    assert json_value(text, "the arguments")[1] == {"a": {"a": 2}}
