"""The Penstock before this one, as source: the last commit of schema version 2 (ADR-0026).

`scripts/fixture-release` made it. A new schema brings a new fixture: the last commit that has not
got it.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.worker_process import ROOT, worker_environment

#: The commit, and what git calls its folder `src`.
COMMIT: Final = "33104ec"
TREE: Final = "30e2546a93e997493ae4d75e1edbcf3964bad40c"
ARCHIVE: Final = ROOT / "tests" / "fixtures" / f"penstock-{COMMIT}.tar.xz"
#: The newest schema version that it knows, on every broker.
KNOWS: Final = 2


@cache
def source() -> Path:
    """Return the folder that makes `import penstock` mean the old one, when it comes first."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-release-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def environment() -> dict[str, str]:
    """Return the variables under which a process runs the old code."""
    return {"PYTHONPATH": str(source())}


def run_old(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the old code, and return what it printed and how it ended."""
    return _run(environment(), code, words)


def run_new(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Do as `run_old` does, on the code under test."""
    return _run({}, code, words)


def _run(
    extra: Mapping[str, str], code: str, words: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=worker_environment({}, extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
