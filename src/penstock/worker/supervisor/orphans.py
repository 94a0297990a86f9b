"""Orphans: processes that lost their parent below this worker come to the supervisor.

As subreaper (and as process 1 of a container anyway) it inherits them, so that a child's family can
be found, and must reap them, or they stay zombies for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Final

from penstock.executors.prctl import Option, prctl
from penstock.executors.process import Spawner

#: Seconds between two rounds of reaping; one round takes all that there is.
_PAUSE_S: Final = 0.1


def become_subreaper() -> None:
    """Let orphans below this process be inherited by it and not by process 1."""
    prctl(Option.CHILD_SUBREAPER, 1)


class Orphans:
    """Reaps processes that this one inherited. Those it started are reaped by their own owners."""

    def __init__(self, spawner: Spawner) -> None:
        """Leave alone what `spawner` knows."""
        self._spawner = spawner
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Reap whenever some process below has ended, for ever."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._ended.set)
        try:
            while True:
                await self._ended.wait()
                self._ended.clear()
                self._reap()
                await asyncio.sleep(_PAUSE_S)
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)

    def _reap(self) -> None:
        while True:
            with contextlib.suppress(ChildProcessError):
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None:
                    return
                if self._spawner.knows(found.si_pid):
                    # It is at the head of the line until its owner has buried it; look again then.
                    self._ended.set()
                    return
                os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)
                continue
            return
