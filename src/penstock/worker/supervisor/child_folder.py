"""The folder of a child's temporary files: its own, closed to other users, gone with the child.

A worker that is killed whole leaves its children's folders behind, as it does all files in there.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Begins its name; short, since sockets whose paths have a bound may stand in it.
_PREFIX: Final = "penstock-"


class ChildFolder:
    """One folder, made for its owner alone.

    Args:
        environ: of the worker; a TMPDIR in it says where.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=environ.get("TMPDIR")))

    def named_in(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which programs put their temporary files there."""
        return {**environ, "TMPDIR": str(self._path)}

    async def remove(self) -> None:
        """Remove it with what it holds, which may be much; what cannot be removed stays."""
        await asyncio.to_thread(shutil.rmtree, self._path, ignore_errors=True)
