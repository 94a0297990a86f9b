"""BullMQ's Python client and worker on Redis. Tuned: 100 coroutines, uvloop. Its default is 1."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import contract
from bullmq import Queue, Worker
from contract import QUEUES, URL, VARIANT, Argument, note_start, queue_of


class Peer(contract.Peer):
    """The queues of this process."""

    async def open(self) -> None:
        """Connect."""
        self.queues = {name: Queue(name, {"connection": URL}) for name in QUEUES}

    async def close(self) -> None:
        """Let go."""
        for queue in self.queues.values():
            await queue.close()

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await self.queues[queue_of(argument)].add("noop", argument)

    async def aenqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in, one call for each queue."""
        for name, queue in self.queues.items():
            mine = [{"name": "noop", "data": one} for one in arguments if queue_of(one) == name]
            await queue.addBulk(mine)


async def noop(job: Any, _token: str) -> Any:
    """Do nothing."""
    return note_start(job.data)


async def main() -> None:
    """Work until interrupted."""
    options: dict[str, Any] = {"connection": URL}
    if VARIANT != "default":
        options["concurrency"] = 100
    workers = [Worker(name, noop, options) for name in QUEUES]
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    for worker in workers:
        await worker.close(force=True)


if __name__ == "__main__":
    if VARIANT != "default":
        import uvloop

        uvloop.install()
    asyncio.run(main())
