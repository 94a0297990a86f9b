"""Penstock on a server: `redis://` or `postgresql://`; durability local but in variant `fsync`.

Worker: `penstock worker penstock_server:app`, one runner, default settings but for the log level.
The variants `thread` and `isolated` are the same no-op as a plain function, in a thread of the
worker and alone in a child.
"""

from __future__ import annotations

from typing import Any

import contract
from contract import QUEUES, URL, VARIANT, Argument, note_start, queue_of

from penstock import App

DURABILITY = "fsync" if VARIANT == "fsync" else "local"
app = App(URL, settings={"durability": DURABILITY, "queues": QUEUES})


async def in_loop(argument: Argument) -> Any:
    """Do nothing, as a coroutine."""
    return note_start(argument)


def alone(argument: Argument) -> Any:
    """Do nothing, as a plain function."""
    return note_start(argument)


if VARIANT in ("thread", "isolated"):
    noop = app.task(isolation="thread" if VARIANT == "thread" else "process")(alone)
else:
    noop = app.task(in_loop)
#: One for each queue, made once, as an application would.
NOOPS = {queue: noop.using(queue=queue) for queue in QUEUES}


class Peer(contract.Peer):
    """The app of this process."""

    def prepare(self) -> None:
        """Make the tables in a new database, where the broker has tables."""
        app.broker.describe()

    def enqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        NOOPS[queue_of(argument)].enqueue(argument)

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await NOOPS[queue_of(argument)].aenqueue(argument)

    def enqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in with one call."""
        app.enqueue_many([NOOPS[queue_of(one)].call(one) for one in arguments])
