"""Runs `penstock` as a user would: another process, an empty environment, its own folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The program that was installed beside the running Python.
PENSTOCK = str(Path(sys.executable).with_name("penstock"))

#: Seconds for one command; a bound for broken runs, never a measure of speed.
COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: exit code.
        out: what it printed on stdout.
        err: what it printed on stderr.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; fails when there is anything else."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error of the one JSON document on stderr; fails when there is anything else."""
        return json.loads(self.err)["error"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user who has set nothing; temporary files go to `folder`."""
    return {
        "PATH": f"{Path(PENSTOCK).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def penstock(
    *words: object, folder: Path, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Ended:
    """Run one command in `folder` and return how it ended."""
    ended = subprocess.run(
        [PENSTOCK, *map(str, words)],
        cwd=folder,
        env=environment(folder, **(env or {})),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)
