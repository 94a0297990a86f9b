"""Folders for the data of test servers, in memory where there is room.

Tests of many files run side by side, and what one of them syncs holds up the others: Redis puts
writes off for seconds while a sync is under way. What must survive a crash of its process does so
in memory as well; what must survive a power loss is tested by other means (`power_loss.c`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

#: Where Linux keeps files in memory.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders of our own are made in it
#: Bytes that must be free there: a container may have no more than 64 MiB.
_ROOM_BYTES: Final = 4 * 2**30


def memory_folder(prefix: str) -> Path:
    """Make a folder for whoever calls, who removes it; on the disk where memory has no room."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if has_room else None))
