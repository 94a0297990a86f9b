"""Where a runner or a child writes the stacks of its threads: when asked, and on a fatal error."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from penstock.executors.process import Process
from penstock.worker.wire import STACK_SIGNAL

#: Bytes read of a stack: a hundred threads' worth; the rest says the same.
_STACK_BYTES_MAX: Final = 65_536
#: Seconds that a process's faulthandler is given to write its stacks.
_STACK_S: Final = 1.0


class StackFile:
    """A file in memory that one process inherits and writes to."""

    def __init__(self, fd: int) -> None:
        """Read from `fd`; -1: there is none."""
        self._fd = fd

    def read(self, start: int = 0) -> str:
        """Return what was written from `start` on; empty if nothing was."""
        if self._fd < 0:
            return ""
        return os.pread(self._fd, _STACK_BYTES_MAX, start).decode(errors="replace").strip()

    async def ask(self, process: Process) -> str:
        """Return the stacks that a process has now, empty where it cannot run.

        One that is so young that it does not listen for the signal yet is killed by it.
        """
        if self._fd < 0:
            return ""
        start = os.fstat(self._fd).st_size
        process.send_signal(STACK_SIGNAL)
        loop = asyncio.get_running_loop()
        end_s, stack = loop.time() + _STACK_S, ""
        while not stack and loop.time() < end_s and not process.exited.done():
            await asyncio.sleep(_STACK_S / 20)
            stack = self.read(start)
        return stack

    def close(self) -> None:
        """Let go of the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
