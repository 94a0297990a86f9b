"""streaQ on Redis. Tuned: 200 coroutines, as many prefetched, uvloop. Its default is 16."""

from __future__ import annotations

from typing import Any

import contract
from contract import QUEUES, URL, VARIANT, Argument, note_start
from streaq import Worker

more: dict[str, Any] = {}
if VARIANT != "default":
    more = {"concurrency": 200, "prefetch": 200, "anyio_kwargs": {"use_uvloop": True}}
worker = Worker(redis_url=URL, queue_name=QUEUES[0], **more)


@worker.task
async def noop(argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The worker object of this process, which enqueues too."""

    async def open(self) -> None:
        """Connect."""
        await worker.__aenter__()

    async def close(self) -> None:
        """Let go."""
        await worker.__aexit__(None, None, None)

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await noop.enqueue(argument)

    async def aenqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in with one call."""
        await worker.enqueue_many([noop.enqueue(argument) for argument in arguments])
