"""huey on Redis, plain functions in threads; results in its hash.

Tuned: one thread, no periodic tasks; 8 threads were three times slower. It has no bulk call: single
calls stand in.
"""

from __future__ import annotations

from typing import Any

import contract
from contract import QUEUES, URL, Argument, note_start
from huey import RedisHuey

huey = RedisHuey(QUEUES[0], url=URL)


@huey.task()
def noop(argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The huey of this process."""

    def enqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        noop(argument)
