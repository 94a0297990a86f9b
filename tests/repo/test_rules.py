"""The rules find what they forbid: each is shown a breach, and the same thing done right."""

from __future__ import annotations

import pytest

from tests.repo import rules
from tests.repo.rules import Rule, Source

#: Rule, path, breach, the same done right.
EXAMPLES: list[tuple[Rule, str, str, str]] = [
    (rules.empty_names, "src/penstock/lease.py", "class LeaseManager: ...", "class Lease: ..."),
    (rules.empty_names, "src/penstock/lease.py", "class BaseLease: ...", "class Baseline: ..."),
    (rules.undocumented_names, "a.py", "x = 1", '"""Doc."""'),
    (
        rules.undocumented_names,
        "a.py",
        '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): ...',
        '"""Doc."""\nclass A:\n    """Doc."""\n    def _f(self): ...',
    ),
    (
        rules.undocumented_tests,
        "t.py",
        "class TestX:\n    def test_a(self): ...",
        'class TestX:\n    def test_a(self):\n        """It holds."""',
    ),
    (rules.undocumented_tests, "t.py", 'def test_a():\n    """Not a sentence"""', "def a(): ..."),
    (rules.unexplained_numbers, "a.py", "LEASE_MS = 12 * 1000", "#: ms\nLEASE_MS = 12 * 1000"),
    (rules.unexplained_numbers, "a.py", "GRACE_S: int = 5", 'GRACE_S: int = 5\n"""Seconds."""'),
    (rules.unexplained_numbers, "a.py", "#: ms\nA_MS = 1\n\nB_MS = 2", "#: ms\nA_MS = 1\nB_MS = 2"),
    (rules.module_state, "a.py", "def f():\n    global x", "def f():\n    x = 1"),
    (rules.module_state, "a.py", "seen: set[str] = set()", "SEEN = frozenset()"),
    (rules.forbidden_imports, "a.py", "def f():\n    from pickle import loads", "import json"),
    (rules.impure_imports, "core/a.py", "import os.path", "import math"),
    (rules.evaluated_data, "a.py", "eval('1')", "re.compile('1')"),
    (rules.evaded_tests, "t.py", "@pytest.mark.xfail\ndef test_a(): ...", "pytest.raises"),
    (rules.ambient_reads, "a.py", "import os\nos.environ['A']", "environ['A']"),
    (rules.ambient_reads, "a.py", "from os import environ", "from os import path"),
]


@pytest.mark.parametrize(("rule", "path", "breach", "right"), EXAMPLES)
def test_rule_finds_its_breach_and_nothing_else(
    rule: Rule, path: str, breach: str, right: str
) -> None:
    """Each rule reports its planted breach and stays silent where the thing is done right."""
    assert list(rule(Source(path, breach)))
    assert list(rule(Source(path, right))) == []


def test_empty_name_in_a_path_is_found() -> None:
    """A folder or module with an empty word in its name is reported."""
    assert list(rules.empty_names(Source("src/penstock/http_utils/lease.py", "")))
    assert list(rules.empty_names(Source("src/penstock/utilisation.py", ""))) == []


def test_body_lines_leave_the_docstring_out() -> None:
    """The length of a function counts its signature and body, not its docstring."""
    tree = Source("a.py", 'def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    return a').tree
    [(qualified, node)] = rules.functions(tree)
    assert (qualified, rules.body_lines(node)) == ("f", 4)


def test_nested_functions_are_found() -> None:
    """Functions in classes, functions and branches are all measured, under their full name."""
    tree = Source("a.py", "if x:\n  class A:\n    def f(self):\n      def g(): ...").tree
    assert [qualified for qualified, _ in rules.functions(tree)] == ["A.f", "A.f.g"]
