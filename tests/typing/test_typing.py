"""Type checkers accept the right uses of the public API and reject each wrong one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RIGHT = ROOT / "tests/typing/api.py"
WRONG = ROOT / "tests/typing/wrong.py"

#: Line -> codes of the errors there.
Errors = dict[int, set[str]]


def mypy(file: Path) -> Errors:
    """Return the errors that mypy finds in a file."""
    command = [sys.executable, "-m", "mypy", "--output", "json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return errors((one["line"], one["code"]) for one in found if one["severity"] == "error")


def basedpyright(file: Path) -> Errors:
    """Return the errors that basedpyright finds in a file."""
    command = [sys.executable, "-m", "basedpyright", "--outputjson", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)["generalDiagnostics"]
    return errors(
        (one["range"]["start"]["line"] + 1, one["rule"])
        for one in found
        if one["severity"] == "error"
    )


def errors(found: Iterable[tuple[int, str]]) -> Errors:
    """Group (line, code) pairs by line."""
    grouped: Errors = {}
    for line, code in found:
        grouped.setdefault(line, set()).add(code)
    return grouped


def expected(marker: str) -> Errors:
    """Return the errors that the comments of `wrong.py` promise for one checker."""
    found: Errors = {}
    for number, line in enumerate(WRONG.read_text().splitlines(), start=1):
        comment = re.search(rf"# {marker}: ignore\[(?P<codes>[^\]]+)\]", line)
        if comment:
            found[number] = set(comment["codes"].split(", "))
    assert found, f"wrong.py promises no error of {marker}: the check would pass on nothing"
    return found


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of `wrong.py` without the comments that silence its errors."""
    file = tmp_path / "wrong.py"
    file.write_text(re.sub(r"  # (type|pyright): ignore\[[^\n]*", "", WRONG.read_text()))
    return file


CHECKERS = pytest.mark.parametrize(
    ("check", "marker"), [(mypy, "type"), (basedpyright, "pyright")], ids=["mypy", "basedpyright"]
)


@CHECKERS
def test_right_uses_are_accepted(check: Callable[[Path], Errors], marker: str) -> None:
    """Every line of `api.py` passes the checker."""
    assert check(RIGHT) == {}


@CHECKERS
def test_each_wrong_use_is_rejected(
    check: Callable[[Path], Errors], marker: str, bare: Path
) -> None:
    """The checker finds exactly the promised errors in `wrong.py`, on their lines."""
    assert check(bare) == expected(marker)


def test_both_checkers_reject_the_same_lines() -> None:
    """A wrong use counts only if both checkers see it."""
    assert expected("type").keys() == expected("pyright").keys()
