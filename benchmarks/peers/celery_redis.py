"""Celery on Redis, plain functions; results in database 1.

Tuned: one process with a pool of threads (`-P threads -c 8`, prefetch 64 times that), no gossip,
mingle or heartbeat. Its default is a process per core. It has no bulk call: single calls stand in.
"""

from __future__ import annotations

from typing import Any

import contract
from celery import Celery
from contract import URL, VARIANT, Argument, note_start, queue_of

app = Celery("bench", broker=URL, backend=URL.removesuffix("/0") + "/1")
app.conf.task_default_queue = "q0"
if VARIANT != "default":
    app.conf.worker_prefetch_multiplier = 64


@app.task(name="noop")
def noop(argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The app of this process."""

    def enqueue(self, argument: Argument) -> Any:
        """Put one no-op in."""
        return noop.apply_async((argument,), queue=queue_of(argument))
