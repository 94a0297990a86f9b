"""arq on Redis. Tuned: 100 coroutines, polled every 10 ms, uvloop. Its default: 10, every 500 ms.

It has no bulk call: gathered calls stand in.
"""

from __future__ import annotations

from typing import Any

import contract
from arq import create_pool
from arq.connections import RedisSettings
from contract import QUEUES, URL, VARIANT, Argument, note_start

settings = RedisSettings.from_dsn(URL)


async def noop(_context: Any, argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


class WorkerSettings:
    """What `arq arq_redis.WorkerSettings` runs."""

    functions = (noop,)
    redis_settings = settings
    queue_name = QUEUES[0]


if VARIANT != "default":
    import asyncio

    import uvloop

    WorkerSettings.max_jobs = 100
    WorkerSettings.poll_delay = 0.01
    WorkerSettings.queue_read_limit = 500
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


class Peer(contract.Peer):
    """A pool of connections."""

    async def open(self) -> None:
        """Connect."""
        self.pool = await create_pool(settings, default_queue_name=QUEUES[0])

    async def close(self) -> None:
        """Let go."""
        await self.pool.aclose()

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await self.pool.enqueue_job("noop", argument)
