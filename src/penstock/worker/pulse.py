"""How the supervisor's loops sleep: until somebody rings, or a time has passed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from penstock.broker.protocol import Listener

#: Seconds: first and longest wait before something that failed is tried again (reliability 4.12).
RETRY_BASE_S: Final = 0.1
RETRY_CAP_S: Final = 5.0
#: Milliseconds: first and longest wait before a process that failed is started again.
BACKOFF_BASE_MS: Final = 100
BACKOFF_CAP_MS: Final = 30_000
#: Doublings after which every cap here is long reached; keeps the shift small.
_DOUBLINGS_MAX: Final = 16


class Bell:
    """Wakes its one sleeper. Rung while nobody sleeps, it wakes the next sleep at once."""

    def __init__(self) -> None:
        """Start silent."""
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the sleeper."""
        self._rung.set()

    async def sleep(self, timeout_s: float | None = None) -> bool:
        """Wait until rung, at most `timeout_s`; return whether it rang. Forgets the ringing."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


def attach(listener: Listener, bell: Bell) -> Callable[[], None]:
    """Ring `bell` whenever `listener` is woken; return what undoes it and closes the listener.

    A listener without a descriptor rings nothing: its loop lives by its slow poll.
    """
    loop = asyncio.get_running_loop()
    descriptor = listener.fileno()

    def woken() -> None:
        if listener.drain():
            bell.ring()

    def detach() -> None:
        if descriptor >= 0:
            loop.remove_reader(descriptor)
        listener.close()

    if descriptor >= 0:
        loop.add_reader(descriptor, woken)
    return detach


def retry_wait_s(
    failures: int, *, base_s: float = RETRY_BASE_S, cap_s: float = RETRY_CAP_S
) -> float:
    """Return how long to wait after the `failures`-th failure in a row: full jitter, never zero."""
    ceiling = min(cap_s, base_s * (1 << min(failures - 1, _DOUBLINGS_MAX)))
    return random.uniform(base_s / 2, max(base_s, ceiling))


def backoff_ms(failures: int) -> int:
    """Return the wait before a process that failed is started again: doubled, up to 30 s."""
    return min(BACKOFF_CAP_MS, BACKOFF_BASE_MS << min(failures - 1, _DOUBLINGS_MAX))


async def first_of(*waits: Awaitable[object]) -> None:
    """Return when the first of `waits` is done; the others are cancelled.

    Futures given are not cancelled, only no longer waited for.
    """
    tasks = [asyncio.ensure_future(_only_wait(one)) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _only_wait(one: Awaitable[object]) -> None:
    if isinstance(one, asyncio.Future):
        await asyncio.wait([one])
    else:
        await one
