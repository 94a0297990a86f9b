"""The fixture is the source of the commit that it is named after, and nothing else."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from tests.support.release import ARCHIVE, COMMIT, TREE, run_old, source
from tests.support.worker_process import ROOT


def git(*words: str, cwd: Path) -> str:
    """Return what git says."""
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_fixture_is_the_tree_of_its_commit(tmp_path: Path) -> None:
    """Git gives what was unpacked the id of the tree, as the history has it where it is there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    git("init", "--quiet", cwd=tmp_path)
    git("add", "--force", "src", cwd=tmp_path)
    assert git("rev-parse", git("write-tree", cwd=tmp_path) + ":src", cwd=tmp_path) == TREE
    history = git("rev-list", "--all", f"--abbrev={len(COMMIT)}", "--abbrev-commit", cwd=ROOT)
    if COMMIT in history.split():
        assert git("rev-parse", f"{COMMIT}:src", cwd=ROOT) == TREE


def test_the_old_code_is_what_runs() -> None:
    """With its folder first, `import penstock` is the fixture's, not the one under test."""
    done = run_old("import penstock; print(penstock.__file__)")
    assert done.stdout.strip() == str(source() / "penstock" / "__init__.py"), done.stderr
