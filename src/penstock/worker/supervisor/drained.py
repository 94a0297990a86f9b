"""The end of the attempts in children of a worker that stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from penstock.core.ids import JobId
from penstock.worker.pulse import Bell

from .halt import Halt
from .lone_attempt import LoneAttempt

#: Seconds between two looks.
_LOOK_S: Final = 0.05


async def drained(
    attempts: Mapping[JobId, LoneAttempt],
    *,
    grace_ms: int,
    release: asyncio.Event,
    is_at_rest: Callable[[], bool],
    bell: Bell,
) -> None:
    """Let attempts finish, then interrupt and release them; return once all are settled.

    Args:
        attempts: under way or not settled yet; others may come from claims that are.
        grace_ms: in which they may finish.
        release: set: all are released at once.
        is_at_rest: tells whether nothing is under way any more.
        bell: rung when something has changed.
    """
    released = asyncio.create_task(release.wait())
    loop = asyncio.get_running_loop()
    end_s = loop.time() + grace_ms / 1000
    for attempt in attempts.values():
        # Its child may never get ready, and what has not begun has nothing to finish.
        if not attempt.has_begun:
            attempt.halt(Halt.RELEASE)
    try:
        while not is_at_rest() and not released.done() and loop.time() < end_s:
            await bell.sleep(min(_LOOK_S, max(0.0, end_s - loop.time())))
        for attempt in attempts.values():
            attempt.halt(Halt.RELEASE if released.done() else Halt.DRAIN)
        while not is_at_rest():
            if released.done():
                for attempt in attempts.values():
                    attempt.halt(Halt.RELEASE)
            await bell.sleep(_LOOK_S)
    finally:
        released.cancel()
