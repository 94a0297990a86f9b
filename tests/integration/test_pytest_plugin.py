"""The pytest plugin, as a project that has installed Penstock meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = """
from penstock import App

app = App()


@app.task
def double(n: int) -> int:
    return 2 * n


def test_double(penstock_sandbox):
    sandbox = penstock_sandbox(app)
    job = double.enqueue(21)
    sandbox.drain()
    assert job.result() == 42
"""


def test_fixture_is_there_without_being_named(tmp_path: Path) -> None:
    """A test asks for `penstock_sandbox` with no conftest.py, and its job runs in memory."""
    (tmp_path / "test_double.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "test_double.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    left = sorted(path.name for path in tmp_path.glob("*.db*"))
    assert left == [], "a sandbox writes no file"
