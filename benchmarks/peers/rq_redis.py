"""RQ on Redis. Tuned: SimpleWorker, which runs jobs in its own process; its default forks each."""

from __future__ import annotations

import contract
from contract import QUEUES, URL, Argument, note_start, queue_of
from redis import Redis
from rq import Queue

connection = Redis.from_url(URL)
queues = {name: Queue(name, connection=connection) for name in QUEUES}


class Peer(contract.Peer):
    """The queues of this process."""

    def enqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        queues[queue_of(argument)].enqueue(note_start, argument)

    def enqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in, one call for each queue."""
        for name, queue in queues.items():
            mine = [argument for argument in arguments if queue_of(argument) == name]
            queue.enqueue_many([Queue.prepare_data(note_start, (one,)) for one in mine])
