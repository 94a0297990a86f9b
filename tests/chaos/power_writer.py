"""A process that produces and works on a file until the power goes, inside a write or a sync.

usage: python -m tests.chaos.power_writer FOLDER DURABILITY OPERATIONS SEED

It goes at the OPERATIONS-th write or sync of any file of the database: what would then be on the
disk is written to FOLDER/after, and the process ends by SIGKILL. Jobs of one queue are put in
through an app and left, those of another through the port, and run.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

from penstock import App
from penstock.broker.requests import Durability
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.ids import JobId
from tests.chaos import tasks
from tests.support import history as h
from tests.support.mini_worker import MiniProducer, MiniWorker
from tests.support.sqlite_vfs import Power, watched

#: Name of the folder for what is left of the database.
AFTER = "after"


class LastPower(Power):
    """Power that goes at a given operation, and the process with it.

    Args:
        path: of the database; what is in it is on the disk.
        operations: which write or sync it is, counted from 1.
        history: told of the fault.
        chance: which of the unsynced writes are on the disk all the same.
    """

    def __init__(
        self, path: Path, operations: int, history: h.History, chance: random.Random
    ) -> None:
        super().__init__()
        self.adopt(path)
        self._path = path
        self._left = operations
        self._history = history
        self._chance = chance

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Keep a write, if there is power left."""
        super().write(name, offset, data)
        self._burn()

    def sync(self, name: str) -> None:
        """Sync a file, if there is power left."""
        self._burn()
        super().sync(name)

    def _burn(self) -> None:
        self._left -= 1
        if self._left > 0:
            return
        self._history.append(h.Fault(kind="power_loss", pids=(os.getpid(),)))
        after = self._path.with_name(AFTER)
        after.mkdir()
        self.cut(self._path, after, self._chance)
        os.kill(os.getpid(), signal.SIGKILL)


def work(path: Path, history: h.History, durability: Durability) -> None:
    """Put jobs in and run those of the port, for ever."""
    app = App(f"sqlite:///{path}")
    app.include(tasks)
    broker = SqliteBroker.open(path, durability=durability)
    producer, worker = MiniProducer(broker, history), MiniWorker(broker, history)
    while True:
        calls = [tasks.wait.call(0.001), tasks.wait.call(0.001)]
        for job in app.enqueue_many(calls, durability=durability):
            history.append(h.Accepted(job=JobId(job.id), durability=str(job.durability)))
        producer.send(*(producer.request() for _ in range(2)))
        worker.turn(limit=2)


def main() -> None:
    """Read the arguments and work."""
    folder, durability = Path(sys.argv[1]), Durability(sys.argv[2])
    operations, seed = int(sys.argv[3]), int(sys.argv[4])
    path = folder / "penstock.db"
    history = h.History(folder / "history.jsonl")
    with watched(LastPower(path, operations, history, random.Random(seed))):
        work(path, history, durability)


if __name__ == "__main__":
    main()
