"""The folder of a user's workers on one host: what they share lies there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .health import check_folder

_FILE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def open_files(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Open files of a folder to read and write; both are made where they are not there.

    Raises:
        OSError: the folder is not this user's alone, or a file cannot be opened; none is open.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found: dict[str, int] = {}
    try:
        # Race: what is checked is the folder that is open, so it cannot be swapped afterwards.
        check_folder(folder, os.fstat(at))
        for name in names:
            found[name] = os.open(name, _FILE_FLAGS, 0o600, dir_fd=at)
    except BaseException:
        for descriptor in found.values():
            os.close(descriptor)
        raise
    finally:
        os.close(at)
    return found
