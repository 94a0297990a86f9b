"""A child that takes long to get ready is told of before it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Final

_log = logging.getLogger("penstock.worker")

#: Part of the time that a child may take after which it is told of.
_PART: Final = 0.1


@contextlib.contextmanager
def told_if_slow(pid: int, max_ms: int) -> Iterator[None]:
    """Warn once a child has taken a tenth of the time that it may take to get ready."""
    max_s = max_ms / 1000
    told = "child %d is not ready yet: after %g s it is given up (child_start_max)"
    timer = asyncio.get_running_loop().call_later(max_s * _PART, _log.warning, told, pid, max_s)
    try:
        yield
    finally:
        timer.cancel()
