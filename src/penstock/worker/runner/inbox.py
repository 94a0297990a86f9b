"""What the supervisor says: kept until there is somebody to listen, then passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.worker import wire
from penstock.worker.pipe import Pipe


class Inbox:
    """Takes messages from the pipe, in the running loop.

    Attributes:
        started: done with the order to start.
    """

    def __init__(self, pipe: Pipe[wire.ToRunner]) -> None:
        self.started: asyncio.Future[wire.Start] = asyncio.get_running_loop().create_future()
        self._kept: list[wire.ToRunner] = []
        self._take_in: Callable[[wire.ToRunner], None] = self._keep
        pipe.listen(self._receive)

    def deliver_to(self, take_in: Callable[[wire.ToRunner], None]) -> None:
        """Pass on what was kept, and all that comes from now on."""
        self._take_in = take_in
        kept, self._kept = self._kept, []
        for message in kept:
            take_in(message)

    def _receive(self, message: wire.ToRunner) -> None:
        if isinstance(message, wire.Start):
            if not self.started.done():
                self.started.set_result(message)
        else:
            self._take_in(message)

    def _keep(self, message: wire.ToRunner) -> None:
        self._kept.append(message)
