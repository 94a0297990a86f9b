"""The files of the repository, as the checks of its shape read them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.repo.rules import Source

ROOT = Path(__file__).resolve().parents[2]

#: Folders that are no part of the project; only asked where there is no git to ask.
FOREIGN = ("__pycache__", "build", "dist", "node_modules")


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file that belongs to the project: tracked, or new and not ignored."""
    if not (ROOT / ".git").exists():
        # An unpacked source distribution has no index to ask.
        parts = {file: file.relative_to(ROOT).parts for file in ROOT.rglob("*") if file.is_file()}
        return tuple(sorted(file for file, path in parts.items() if not is_foreign(path)))
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # A file that was deleted but not committed yet is still listed.
    files = (ROOT / path for path in listing.split("\0") if path)
    return tuple(sorted({file for file in files if file.is_file()}))


def is_foreign(path: tuple[str, ...]) -> bool:
    """Tell whether a path, given as its parts, lies in a cache, an environment or a build."""
    hidden = any(part.startswith(".") and part not in {".ci", ".gitignore"} for part in path)
    return hidden or any(part in FOREIGN for part in path)


def sources(*folders: str) -> list[Source]:
    """Return the Python files below the named folders; never none."""
    wanted = tuple(ROOT / folder for folder in folders)
    found = [
        Source(name(file), file.read_text())
        for file in project_files()
        if file.suffix == ".py" and any(file.is_relative_to(folder) for folder in wanted)
    ]
    assert found, f"no Python file below {', '.join(folders)}: the check would pass on nothing"
    return found


def text_files() -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every project file that is text."""
    for file in project_files():
        data = file.read_bytes()
        if b"\0" not in data:
            yield name(file), data.decode()


def name(file: Path) -> str:
    """Return the path of a file from the root of the repository."""
    return file.relative_to(ROOT).as_posix()


def report(findings: list[str], rule: str) -> None:
    """Fail with the rule and every finding, or pass when there is none."""
    assert not findings, rule + "".join(f"\n  {finding}" for finding in findings)
