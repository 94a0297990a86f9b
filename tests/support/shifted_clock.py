"""A wall clock of its own for real processes, and steps of it while they run.

Only wall time is shifted: CLOCK_BOOTTIME and CLOCK_MONOTONIC stay the kernel's, as they do when an
administrator or NTP sets the clock of a host.
"""

from __future__ import annotations

import atexit
import mmap
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

#: Bytes of the shift: one whole number of nanoseconds.
_BYTES: Final = 8
HOUR_S: Final = 3_600


class ShiftedClock:
    """One clock: give its `environment` to the processes that are to read it.

    Attributes:
        environment: variables of those processes.
        shift_s: seconds by which it is ahead; negative: behind.
    """

    def __init__(self, file: Path, shift_s: float = 0.0) -> None:
        """Make the clock in `file`."""
        file.write_bytes(bytes(_BYTES))
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), _BYTES)
        self.environment = {"LD_PRELOAD": str(library()), "SHIFTED_CLOCK": str(file)}
        self.shift_s = 0.0
        self.step(shift_s)

    def step(self, by_s: float) -> None:
        """Set it forward by so many seconds, or back."""
        self.shift_s += by_s
        self._page[:] = int(self.shift_s * 1e9).to_bytes(_BYTES, "little", signed=True)


@cache
def library() -> Path:
    """Return the library that processes preload, built once per test process."""
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler is missing: scripts/servers installs it"
    folder = Path(tempfile.mkdtemp(prefix="penstock-clock-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = folder / "shifted_clock.so"
    source = Path(__file__).with_suffix(".c")
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-O2",
        "-Wall",
        "-Werror",
        "-o",
        str(built),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built
