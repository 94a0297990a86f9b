"""scripts/proof: which areas it runs, what it gives them, and what its status says."""

from __future__ import annotations

import os
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


def test_the_engine_gives_its_folder_to_all_that_leave_figures(tmp_path: Path) -> None:
    """Benchmarks, guards, lives and demo are asked for, with the folder, and stale figures go.

    A missed bar of one does not keep the others from being proved, and the status tells of it.
    """
    (tmp_path / "python").write_text(
        """#!/bin/sh\necho "${ENGINE_PROOF-none} $*" >>"$ASKED"\nexit 3\n"""
    )
    (tmp_path / "python").chmod(0o755)
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "guards.json").write_text("of an older run")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ASKED": str(tmp_path / "asked"), "ROUNDS": "2"}
    environment.pop("ENGINE_PROOF", None)
    script = ROOT / "scripts/proofs/engine"
    done = subprocess.run([str(script), str(folder)], check=False, cwd=ROOT, env=environment)
    assert done.returncode == 1
    benchmarks, tests = (tmp_path / "asked").read_text().splitlines()
    assert benchmarks == f"none -m benchmarks.run {folder} --rounds 2"
    given, *words = tests.split()
    assert given == str(folder)
    files = [word for word in words if word.startswith("tests/")]
    assert [file for file in files if not (ROOT / file).exists()] == []
    for file, name in (
        ("tests/conformance/test_guards.py", "guards"),
        ("tests/properties/test_broker_machine.py", "lives"),
        ("tests/integration/test_demo_default.py", "demo"),
    ):
        assert any(file.startswith(asked) for asked in files), file
        assert f'publish("{name}"' in (ROOT / file).read_text()
    assert not list(folder.iterdir())
