"""Jobs in children that look for what they should not find (SEC27)."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from penstock import App

app = App()


def _read(path: str) -> str:
    """Return what a file of /proc holds, or why it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(1 << 20).replace(b"\0", b"\n").decode(errors="replace")
    except OSError as error:
        return f"refused: {error.strerror}"


def _family(root: int) -> list[str]:
    """Return the processes below one, itself and this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) not in (root, os.getpid()):
            line = _read(f"{entry}/stat")
            if line.rpartition(")")[2].split()[1:2] == [str(root)]:
                found.append(entry.name)
    return found


@app.task(isolation="process", retries=0)
def look_around() -> dict[str, str]:
    """Return all that a job in a child can read about the worker it belongs to."""
    parent = os.getppid()
    seen = {"os.environ": repr(dict(os.environ)), "self": _read("/proc/self/environ")}
    for pid in (str(parent), *_family(parent)):
        who = "supervisor" if pid == str(parent) else "runner"
        for file in ("environ", "cmdline", "mem"):
            seen[f"{who} {file}"] = _read(f"/proc/{pid}/{file}")
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            seen[f"descriptor {link.name}"] = str(link.readlink())
    return seen


@app.task(isolation="process", retries=0)
def leave_file() -> tuple[str, str, str]:
    """Leave a temporary file; return where, and the rights on its folder and on itself."""
    handle, name = tempfile.mkstemp()
    os.close(handle)
    path = Path(tempfile.gettempdir(), "open.txt")
    path.write_text("mine")
    rights = (path.parent, path)
    folder, file = (stat.filemode(one.stat().st_mode) for one in rights)
    return name, folder, file
