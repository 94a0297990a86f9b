"""taskiq on Redis, as a list and as a stream, results in database 1.

Tuned: one process, 1000 coroutines, arguments not parsed, uvloop (taskiq takes it when it is
there); the stream reads 1000 entries at once. It has no bulk call: gathered calls stand in.
"""

from __future__ import annotations

import os
from typing import Any

import contract
from contract import QUEUES, URL, VARIANT, Argument, note_start
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

kind = os.environ.get("BENCH_KIND", "list")
more = {} if kind == "list" or VARIANT == "default" else {"xread_count": 1000}
make = ListQueueBroker if kind == "list" else RedisStreamBroker
# The group reads from the first entry, also where it is made after the jobs were put in.
more |= {} if kind == "list" else {"consumer_id": "0"}
broker = make(URL, queue_name=QUEUES[0], **more).with_result_backend(
    RedisAsyncResultBackend(URL.removesuffix("/0") + "/1")
)


@broker.task
async def noop(argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The broker of this process."""

    async def open(self) -> None:
        """Connect."""
        await broker.startup()

    async def close(self) -> None:
        """Let go."""
        await broker.shutdown()

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await noop.kiq(argument)
