"""Which files the demo works on, as absolute paths in a fixed order."""

from __future__ import annotations

import os
import stat
import sysconfig
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import BadSetting

#: Files of one run: the merge job has all analysis jobs as parents, and 1,000 is the most
#: (`asked.PARENTS_MAX`).
FILES_MAX: Final = 1_000
#: Bytes of one file; larger ones are left out, since one of them would outweigh all the others.
FILE_BYTES_MAX: Final = 2 * 2**20
#: Folders that hold no source of the library itself, or that nobody wrote by hand.
_FOLDERS_LEFT_OUT: Final = frozenset(
    {"__pycache__", "dist-packages", "idle_test", "node_modules", "site-packages", "test", "tests"}
)


class FileChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo analyses.

    Attributes:
        root: absolute path of the folder.
        paths: absolute paths, sorted, 1..`FILES_MAX`.
        left_out: files passed over because they are empty, too large, not regular or unreadable,
            or beyond `FILES_MAX`.
    """

    root: str
    paths: tuple[str, ...]
    left_out: int = 0


def standard_library() -> FileChoice:
    """Return every module of the running Python's standard library, its tests left out.

    Raises:
        BadSetting: this Python was installed without the sources of its library.
    """
    return _choose(Path(sysconfig.get_path("stdlib")), suffix=".py", left_out=_FOLDERS_LEFT_OUT)


def folder(name: str) -> FileChoice:
    """Return the files under a folder, hidden ones and `__pycache__` left out.

    Raises:
        BadSetting: it does not exist, is no folder, may not be read, or holds no file to analyse.
    """
    path = Path(name)
    if not path.exists():
        raise BadSetting(f"folder {name!r} does not exist: give the path of a folder with files")
    if not path.is_dir():
        raise BadSetting(f"folder {name!r} is not a folder: give the folder that holds the file")
    return _choose(path, suffix="", left_out=frozenset({"__pycache__", "node_modules"}))


def _choose(root: Path, *, suffix: str, left_out: frozenset[str]) -> FileChoice:
    root = root.resolve()
    _check_readable(root)
    found: list[str] = []
    passed_over = 0
    for parent, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in left_out]
        for name in names:
            if name.startswith(".") or not name.endswith(suffix):
                continue
            path = os.path.join(parent, name)  # noqa: PTH118 - as os.walk gives it
            if _is_suitable(path):
                found.append(path)
            else:
                passed_over += 1
    if not found:
        raise BadSetting(
            f"folder {str(root)!r} holds no file to analyse: give a folder with readable files of "
            f"1 to {FILE_BYTES_MAX} bytes (hidden files are left out)"
        )
    found.sort()
    beyond = max(0, len(found) - FILES_MAX)
    return FileChoice(root=str(root), paths=tuple(found[:FILES_MAX]), left_out=passed_over + beyond)


def _check_readable(root: Path) -> None:
    try:
        with os.scandir(root) as entries:
            next(entries, None)
    except PermissionError as error:
        message = f"folder {str(root)!r} may not be read ({error.strerror}): give it to this user"
        raise BadSetting(f"{message}, or choose another one") from error


def _is_suitable(path: str) -> bool:
    """Tell whether `path` is a regular file of the right size that this user may read."""
    try:
        path.encode()  # a name that is not UTF-8 cannot be written as JSON
        facts = Path(path).lstat()
    except (OSError, UnicodeEncodeError):
        return False
    is_regular = stat.S_ISREG(facts.st_mode)
    return is_regular and 0 < facts.st_size <= FILE_BYTES_MAX and os.access(path, os.R_OK)
