"""GPUs for machines that have none: a stand-in for NVIDIA's management library."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from penstock.executors.nvml import LIBRARY_ENV


def fake_gpus(**mib: int) -> dict[str, str]:
    """Return the variables of a worker that finds these devices: UUID (with `_`) -> MiB."""
    devices = ",".join(f"{uuid.replace('_', '-')}={size}" for uuid, size in mib.items())
    return {LIBRARY_ENV: str(library()), "FAKE_NVML": devices}


@cache
def library() -> Path:
    """Return the library, built once per test process."""
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler is missing: scripts/servers installs it"
    folder = Path(tempfile.mkdtemp(prefix="penstock-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = folder / "fake_nvml.so"
    source = Path(__file__).with_suffix(".c")
    options = ["-shared", "-fPIC", "-Wall", "-Werror", "-D_GNU_SOURCE"]
    command = [compiler, *options, "-o", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built
