"""dramatiq on Redis, plain functions in threads; results in database 1.

Tuned: one process, 8 threads, prefetch 200 (an environment variable of its own), Prometheus off.
Its default is two processes of 8 threads. It has no bulk call: single calls stand in.
"""

from __future__ import annotations

from typing import Any

import contract
import dramatiq
from contract import QUEUES, URL, Argument, note_start, queue_of
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL.removesuffix("/0") + "/1")))
dramatiq.set_broker(broker)
actors = {
    queue: dramatiq.actor(note_start, actor_name=f"noop_{queue}", queue_name=queue,
                          store_results=True)
    for queue in QUEUES
}  # fmt: skip


class Peer(contract.Peer):
    """The broker of this process."""

    def enqueue(self, argument: Argument) -> Any:
        """Put one no-op in."""
        return actors[queue_of(argument)].send(argument)
