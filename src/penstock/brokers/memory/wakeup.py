"""Who sleeps where, and how to wake them: works between threads of one process."""

from __future__ import annotations

import os
import secrets
import select
from collections import defaultdict
from collections.abc import Callable, Iterable


class MemoryListener:
    """A place to be woken at: an eventfd, readable when somebody called.

    Safe to wake from any thread. `wait` and `drain` belong to the thread that sleeps.
    """

    def __init__(self, forget: Callable[[str], None]) -> None:
        """Open the descriptor; `forget` gives the address up when it is closed."""
        self.token = secrets.token_hex(8)
        self.breaks = 0
        self._forget = forget
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._fd

    def wake(self) -> None:
        """Make the descriptor readable."""
        os.eventfd_write(self._fd, 1)

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one. Never blocks."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        """Block until woken or `timeout_s` passed; return whether woken. Forgets the wake-ups."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.poll(timeout_s * 1000)
        return self.drain()

    def close(self) -> None:
        """Give the address up. A wake-up sent to it later does nothing."""
        if self._fd >= 0:
            self._forget(self.token)
            os.close(self._fd)
            self._fd = -1


class Wakeups:
    """Waiter tokens by ready set, and the listeners behind them. Held under the broker's lock."""

    def __init__(self) -> None:
        """Start with nobody listening."""
        self._listeners: dict[str, MemoryListener] = {}
        self._waiters: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    def add_listener(self, listener: MemoryListener) -> None:
        """Make `listener` reachable by its token."""
        self._listeners[listener.token] = listener

    def remove_listener(self, token: str) -> None:
        """Forget the listener of `token`; tokens that it left behind wake nobody."""
        self._listeners.pop(token, None)

    def leave(self, token: str, sets: Iterable[tuple[str, str]]) -> None:
        """Leave `token` at each ready set; leaving it twice is leaving it once."""
        for ready_set in sets:
            self._waiters[ready_set][token] = None

    def wake(self, ready_set: tuple[str, str], count: int) -> None:
        """Wake up to `count` who wait at `ready_set`, longest waiting first; their tokens go."""
        waiters = self._waiters[ready_set]
        while count > 0 and waiters:
            token = next(iter(waiters))
            self._take(token)
            count -= self.nudge(token)

    def nudge(self, token: str) -> bool:
        """Wake the listener of `token`; return whether there is one."""
        listener = self._listeners.get(token)
        if listener is None:
            return False
        listener.wake()
        return True

    def _take(self, token: str) -> None:
        # One sleeper is fed by one job: its tokens at other sets are used up with this one.
        for waiters in self._waiters.values():
            waiters.pop(token, None)
