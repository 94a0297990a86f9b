"""The generated pages are what the code says now, and leave nothing out."""

from __future__ import annotations

import inspect
import re

import pytest

from penstock import errors
from penstock.core.lifecycle import TRANSITIONS, Event, State
from scripts import docs
from scripts.reference.docstring import markdown
from tests.repo.repository import report


@pytest.mark.parametrize("page", docs.PAGES)
def test_page_is_fresh(page: str) -> None:
    """A generated page that is kept equals what the code would write now."""
    assert docs.is_fresh(page), f"docs/reference/{page}.md is stale: run `make docs`"


def test_every_transition_is_on_the_page() -> None:
    """The page of states has one row per row of the lifecycle table, with the same ends."""
    rows = re.findall(r"^\| (\S+) \| (\w+) \| (.+?) \|", docs.text("states"), re.MULTILINE)
    shown = {
        (None if state == "(none)" else State(state.strip("`")), Event(event)): ways
        for state, event, ways in rows
        if event in list(Event)
    }
    assert shown.keys() == TRANSITIONS.keys()
    for key, ways in shown.items():
        assert {way.strip("`") for way in ways.split(" or ")} == {
            str(way or "(none)") for way in TRANSITIONS[key]
        }


def test_every_error_has_its_heading() -> None:
    """Each class that penstock.errors defines has a heading and a place in the tree."""
    page = docs.text("errors")
    classes = [
        n for n, v in vars(errors).items() if inspect.isclass(v) and v.__module__ == errors.__name__
    ]
    report([n for n in classes if f"\n## {n}\n" not in page], "not on the page:")
    report(
        [n for n in classes if not re.search(rf"^ *{n}$", page, re.MULTILINE)], "not in the tree:"
    )


def test_docstring_sections_become_lists() -> None:
    """Attributes and arguments become list items, with their continued lines."""

    class Example:
        """One line.

        Attributes:
            first: what it is,
                and more.
            second: short.

        After.
        """

    assert markdown(Example).splitlines() == [
        "One line.",
        "",
        "Attributes:",
        "",
        "- `first`: what it is,",
        "  and more.",
        "- `second`: short.",
        "",
        "After.",
    ]
