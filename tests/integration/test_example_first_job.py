"""examples/first_job does what its README says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.repo.examples import examples, run

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "first_job"


@pytest.mark.timeout(120)
def test_the_readme_is_true(tmp_path: Path) -> None:
    """The commands of the README, run in a copy of the folder, print what it shows."""
    place = shutil.copytree(FOLDER, tmp_path / "first_job", ignore=shutil.ignore_patterns("*.db*"))
    [example] = examples("examples/first_job/README.md", (FOLDER / "README.md").read_text())
    run(example, place)
