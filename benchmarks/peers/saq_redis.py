"""saq on Redis. Tuned: 100 coroutines, uvloop. Its default is 10 coroutines.

It has no bulk call that does not wait for results: gathered calls stand in.
"""

from __future__ import annotations

from typing import Any

import contract
from contract import QUEUES, URL, VARIANT, Argument, note_start
from saq import Queue

queue = Queue.from_url(URL, name=QUEUES[0])


async def noop(_context: Any, *, argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


settings = {"queue": queue, "functions": [noop]}
if VARIANT != "default":
    import asyncio

    import uvloop

    settings["concurrency"] = 100
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


class Peer(contract.Peer):
    """The queue of this process."""

    async def open(self) -> None:
        """Connect."""
        await queue.connect()

    async def close(self) -> None:
        """Let go."""
        await queue.disconnect()

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await queue.enqueue("noop", argument=argument)
