"""The generated pages are what the code says now, and leave nothing out."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock import errors
from penstock.config.settings import SETTINGS
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


def test_every_setting_has_its_row() -> None:
    """Each setting stands on its page, under its component, with its variable."""
    page = docs.text("settings")
    for setting in SETTINGS.values():
        section = page.split(f"\n## {setting.component}\n")[1].split("\n## ")[0]
        assert f"\n| `{setting.name}` | `{setting.env}` | " in section


def test_every_command_has_its_heading() -> None:
    """Each command that `penstock --help` and the help of its groups list is on the page."""
    page = docs.text("cli")
    listed = {("penstock", name) for name in subcommands()}
    listed |= {(f"penstock {name}", inner) for _, name in listed for inner in subcommands(name)}
    assert len(listed) > len(("jobs", "job", "queues")), "the help was not read"
    report(
        [f"{group} {name}" for group, name in listed if f"\n## {group} {name}\n" not in page],
        "not on the page:",
    )


def subcommands(*path: str) -> list[str]:
    """Return the commands that the help of a command lists."""
    command = [str(Path(sys.executable).parent / "penstock"), *path, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    _, _, below = text.partition("Commands:\n")
    return re.findall(r"^  (\w[\w-]*)", below, re.MULTILINE)


def glossary() -> dict[str, str]:
    """Return word -> meaning, as the glossary gives them."""
    text = (docs.FOLDER / "glossary.md").read_text().split("\n## ")[1]
    items = re.findall(
        r"^- \*\*(.+?)\*\*: (.+?)(?=\n\n|\n- |\n?\Z)", text, re.MULTILINE | re.DOTALL
    )
    return dict(items)


def test_glossary_defines_what_happens_to_a_job() -> None:
    """Each event that a person or program causes has its word in the glossary."""
    told_elsewhere = {Event.UNBLOCK, Event.PARENT_FAILED, Event.DUE, Event.COMPLETE}
    report(
        [e for e in Event if e not in glossary().keys() | told_elsewhere], "not in the glossary:"
    )


def test_glossary_has_one_sentence_a_word() -> None:
    """Each word has one sentence, which begins small and ends with its only period."""
    words = glossary()
    assert len(words) > len(Event), "the glossary was not read"
    wrong = [w for w, text in words.items() if text.count(". ") or not text.endswith(".")]
    report(wrong, "one sentence each:")


def test_glossary_translates_every_state() -> None:
    """Each state has a row with a word, or a dash, for each of the other systems."""
    text = (docs.FOLDER / "glossary.md").read_text().split("### States")[1]
    rows = re.findall(r"^\| (\w+) ((?:\|[^|\n]+){6})\|$", text, re.MULTILINE)
    assert {state for state, _ in rows} >= set(State)


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
