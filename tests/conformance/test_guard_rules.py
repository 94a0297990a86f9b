"""How guards are found and taken out: each rule on an example, and each misuse refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.guards import guards_of, mutants_of


def ways(folder: Path, file: str, text: str) -> list[str]:
    """Return the marked line of `text` as each mutant has it."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (guard,) = guards_of(folder)
    mutants = mutants_of(folder, guard)
    for mutant in mutants:
        before, after = text.splitlines(), mutant.text.splitlines()
        changed = [n for n, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b]
        assert changed == [guard.line], "a mutant differs in its guard's line alone"
    lines = [mutant.text.splitlines()[guard.line - 1] for mutant in mutants]
    return [line.split("  #")[0].strip() for line in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if a:  # Guard: g\n    raise X\n", ["if False:"]),
        ("for x in y:\n    if a and b:  # Guard: g\n        continue\n", ["if False:"]),
        ("if a:  # Guard: g\n    b()\n", ["if False:", "if True:"]),
        ("if (\n    a\n    and b  # Guard: g\n):\n    c()\n", ["and True"]),
        ("if (\n    a\n    or b  # Guard: g\n):\n    c()\n", ["or False"]),
        ("x = [\n    y\n    for y in z\n    if y.a  # Guard: g\n]\n", ["if True"]),
        ("x = a >= b  # Guard: g\n", ["x = True", "x = False"]),
        ("def f():\n    return a(b)  # Guard: g\n", ["return True", "return False"]),
        ("x = max(a, b - c)  # Guard: g\n", ["x = a"]),
        ("del x[:-5]  # Guard: g\n", ["pass"]),
        ("if 'ä' in a:  # Guard: g\n    raise X\n", ["if False:"]),
    ],
)
def test_python_guards_are_taken_out(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Each form of a guard loses what it guards, and nothing else changes."""
    assert ways(tmp_path, "verb.py", text) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("AND fence = ?2", ["AND ((fence = ?2) OR TRUE)"]),
        ("  WHERE closed = 1", ["WHERE ((closed = 1) OR TRUE)"]),
        ("ELSE a + ?3 <= ?2", ["ELSE ((a + ?3 <= ?2) OR TRUE)"]),
        ("WHEN left > 1 THEN 'blocked'", ["WHEN ((left > 1) AND FALSE) THEN 'blocked'"]),
        (
            "WHEN a = ?1 THEN b <= ?2",
            ["WHEN ((a = ?1) AND FALSE) THEN b <= ?2", "WHEN a = ?1 THEN ((b <= ?2) OR TRUE)"],
        ),
        ("ON CONFLICT (id) DO NOTHING", [""]),
    ],
)
def test_sql_guards_are_taken_out(tmp_path: Path, line: str, expected: list[str]) -> None:
    """Each form of a condition always holds, and parameters keep their numbers."""
    assert ways(tmp_path, "sql/verb.sql", f"SELECT 1\n{line} -- Guard: g\n") == expected


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("verb.sql", "SET state = 'x' -- Guard: g\n"),
        ("verb.py", "x = f(a)  # Guard: g\n"),
        ("verb.py", "x = [\n    a,  # Guard: g\n]\n"),
    ],
)
def test_a_mark_without_a_condition_is_refused(tmp_path: Path, file: str, text: str) -> None:
    """A mark that no rule fits is an error, not a guard that is never taken out."""
    with pytest.raises(AssertionError, match="condition"):
        ways(tmp_path, file, text)
