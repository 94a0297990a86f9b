"""Sizes, names, docstrings and forbidden constructs, over every file of the project."""

from __future__ import annotations

import inspect
import tomllib

import pytest

from tests.repo import rules
from tests.repo.repository import ROOT, report, sources
from tests.repo.rules import Rule

#: Lines of one file, docstrings included; past it the file has two duties.
FILE_LINES_MAX = 300

#: Lines of one function, docstring not included: an honest docstring must cost nothing.
FUNCTION_LINES_MAX = 60

#: Words of a reason in the allow-list; "too long" is none.
REASON_WORDS_MIN = 4

#: Rule -> folders whose files it holds for.
SCOPES: list[tuple[Rule, tuple[str, ...]]] = [
    (rules.empty_names, ("src", "tests", "scripts", "benchmarks")),
    (rules.undocumented_names, ("src",)),
    (rules.undocumented_tests, ("tests", "src/penstock/testing")),
    (rules.unexplained_numbers, ("src",)),
    (rules.module_state, ("src",)),
    (rules.forbidden_imports, ("src",)),
    (rules.impure_imports, ("src/penstock/core", "src/penstock/errors.py")),
    (rules.evaluated_data, ("src",)),
    (rules.evaded_tests, ("tests", "src/penstock/testing")),
]

#: Files of src/ that may read the environment and argv, by how they begin or end: the command line,
#: the mains of processes, and the settings.
ENTRY_POINTS = ("src/penstock/cli/", "src/penstock/testing/", "src/penstock/config/resolve.py")
MAIN = "/__main__.py"


@pytest.mark.parametrize(
    ("rule", "folders"), SCOPES, ids=lambda value: getattr(value, "__name__", "")
)
def test_rule_holds(rule: Rule, folders: tuple[str, ...]) -> None:
    """Every file in the scope of a rule keeps to it."""
    findings = [f"{source.name}:{found}" for source in sources(*folders) for found in rule(source)]
    report(findings, inspect.getdoc(rule) or "")


def test_only_entry_points_read_the_environment() -> None:
    """Outside the command line and the settings nothing reads the environment or argv."""
    findings = [
        f"{source.name}:{found}"
        for source in sources("src")
        if not source.name.startswith(ENTRY_POINTS) and not source.name.endswith(MAIN)
        for found in rules.ambient_reads(source)
    ]
    report(findings, inspect.getdoc(rules.ambient_reads) or "")


def test_files_keep_to_their_budget() -> None:
    """A source file over 300 lines stands in the allow-list with a reason."""
    sizes = {source.name: len(source.text.splitlines()) for source in sources("src")}
    report(over_budget(sizes, FILE_LINES_MAX, allowed("files")), ADVICE)


def test_functions_keep_to_their_budget() -> None:
    """A source function over 60 lines stands in the allow-list with a reason."""
    sizes = {
        f"{source.name}::{qualified}": rules.body_lines(node)
        for source in sources("src")
        for qualified, node in rules.functions(source.tree)
    }
    report(over_budget(sizes, FUNCTION_LINES_MAX, allowed("functions")), ADVICE)


def test_budget_is_held_in_both_directions() -> None:
    """A size over its limit, a stale line of the allow-list and a missing reason are all found."""
    listed = {"small": "it reads better in one piece", "large": "too long"}
    found = over_budget({"small": 1, "large": 9, "other": 9}, 8, listed)
    assert [finding.split(":")[0] for finding in found] == ["other", "small", "large"]


#: What to do about a finding of the budgets.
ADVICE = "split by duty, or give the reason in tests/repo/budgets.toml:"


def allowed(kind: str) -> dict[str, str]:
    """Return the allow-list of one kind: name -> reason."""
    table = tomllib.loads((ROOT / "tests/repo/budgets.toml").read_text())[kind]
    assert isinstance(table, dict)
    return table


def over_budget(sizes: dict[str, int], limit: int, listed: dict[str, str]) -> list[str]:
    """Return what is over and not listed, listed and not over, or listed without a reason."""
    over = {item for item, size in sizes.items() if size > limit}
    findings = [
        f"{item}: {sizes[item]} lines, limit {limit}" for item in sorted(over - set(listed))
    ]
    findings += [f"{item}: listed, but not over {limit}" for item in sorted(set(listed) - over)]
    return findings + [
        f"{item}: give a reason of {REASON_WORDS_MIN} words or more"
        for item, reason in listed.items()
        if len(reason.split()) < REASON_WORDS_MIN
    ]
