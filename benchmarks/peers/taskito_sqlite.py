"""taskito on SQLite (Rust core). It runs at synchronous NORMAL, WAL, and offers no other class.

Tuned as far as its options go: scheduler batches of 100, push dispatch. Worker: `taskito worker`.
"""

from __future__ import annotations

import os
from typing import Any

import contract
from contract import note_start
from taskito import Queue

queue = Queue(
    db_path=os.environ["BENCH_URL"],
    scheduler_batch_size=100,
    scheduler_poll_interval_ms=5,
    push_dispatch=True,
)


@queue.task()
def noop(argument: dict[str, Any]) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The queue of this process."""

    def enqueue(self, argument: dict[str, Any]) -> None:
        """Put one no-op in."""
        noop.delay(argument)

    def enqueue_bulk(self, arguments: list[dict[str, Any]]) -> None:
        """Put many no-ops in with one call."""
        queue.enqueue_many(noop.name, [(argument,) for argument in arguments])
