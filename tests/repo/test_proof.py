"""scripts/proof: which areas it runs, what it gives them, and what its status says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repo.repository import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the script and two areas, one of which proves nothing."""
    areas = tmp_path / "scripts/proofs"
    areas.mkdir(parents=True)
    shutil.copy(ROOT / "scripts/proof", tmp_path / "scripts/proof")
    for area, text in {"held": 'echo measured >"$1/report.md"', "broken": "exit 3"}.items():
        (areas / area).write_text(f"#!/bin/sh\n{text}\n")
        (areas / area).chmod(0o755)
    (areas / "not-executable").write_text("")
    return tmp_path


def proof(root: Path, *areas: str) -> subprocess.CompletedProcess[str]:
    """Run the script for some areas."""
    script = [str(root / "scripts/proof"), *areas]
    return subprocess.run(script, capture_output=True, text=True, check=False)


def test_one_area_leaves_its_report(checkout: Path) -> None:
    """A named area alone is run, in the root, with its own folder to write to."""
    done = proof(checkout, "held")
    assert (done.returncode, "proof held: held" in done.stdout) == (0, True)
    assert (checkout / "proof/held/report.md").read_text() == "measured\n"
    assert not (checkout / "proof/broken").exists()


def test_without_an_area_all_are_run(checkout: Path) -> None:
    """Without a name every area is run, also after one that did not hold, and the status is 1."""
    done = proof(checkout)
    assert (done.returncode, done.stderr) == (1, "proof failed: broken\n")
    assert (checkout / "proof/held/report.md").exists()


def test_an_unknown_area_is_refused(checkout: Path) -> None:
    """A name that is no area is refused before anything runs, and the areas are listed."""
    done = proof(checkout, "held", "speeed")
    assert done.returncode == 1
    assert done.stderr == "proof: no area 'speeed'; there are: broken held\n"
    assert not (checkout / "proof").exists()
