"""Processes that write to one file until they are killed inside a commit, or are told to stop.

usage: python -m tests.chaos.commit_writer FOLDER doomed KILLS SEED
       python -m tests.chaos.commit_writer FOLDER healthy

`doomed` forks one writer after the other. Each kills itself with SIGKILL just before its n-th write
or sync of any file of the database, for n = 1, 2, 3, ... and then at random: between any two of the
system calls that make a commit or a checkpoint. `healthy` works on beside them until SIGTERM.
Source: failing at the n-th call is how SQLite tests its own crash safety.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import traceback
from pathlib import Path

import apsw

from penstock.brokers.sqlite import SqliteBroker
from tests.support import history as h
from tests.support.mini_worker import MiniProducer, MiniWorker

#: The first so many kills go through n = 1, 2, 3, ...; later ones are drawn from 1..`DRAWN_MAX`.
SWEPT = 30
#: Enough file operations for a dozen transactions and a checkpoint.
DRAWN_MAX = 600
#: Jobs that the healthy writer puts in; the file is checked whole after every kill, at a cost that
#: grows with it.
HEALTHY_JOBS = 1_000


class Fuse:
    """Counts file operations down and kills the process at zero."""

    def __init__(self, history: h.History) -> None:
        """Burn nothing until it is lit."""
        self._history = history
        self._left = 0

    def light(self, operations: int) -> None:
        """Die just before the `operations`-th file operation from now."""
        self._left = operations

    def burn(self) -> None:
        """One file operation is about to happen."""
        if self._left == 0:
            return
        self._left -= 1
        if self._left == 0:
            self._history.append(h.Fault(kind="sigkill_in_commit", pids=(os.getpid(),)))
            os.kill(os.getpid(), signal.SIGKILL)


class FuseVfs(apsw.VFS):
    """The default VFS of SQLite, with a fuse on writes, syncs and truncations."""

    def __init__(self, fuse: Fuse) -> None:
        """Register under the name "fuse"."""
        self._fuse = fuse
        self._base = "unix"
        super().__init__("fuse", self._base)

    def make_default(self) -> None:
        """Let every connection of this process that is opened from now on go through it."""
        apsw.set_default_vfs("fuse")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> FuseFile:  # noqa: N802
        """Open with the fuse in place."""
        return FuseFile(self._fuse, self._base, name, flags)


class FuseFile(apsw.VFSFile):
    """A file of `FuseVfs`."""

    def __init__(
        self, fuse: Fuse, base: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        """Open it."""
        self._fuse = fuse
        super().__init__(base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Burn, then write."""
        self._fuse.burn()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Burn, then sync."""
        self._fuse.burn()
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Burn, then truncate."""
        self._fuse.burn()
        super().xTruncate(newsize)


def work(folder: Path, fuse: Fuse | None, operations: int, stop: threading.Event) -> None:
    """Enqueue, claim, run, settle and reclaim until `stop` is set, or for ever."""
    history = h.History(folder / "history.jsonl")
    broker = SqliteBroker.open(folder / "penstock.db")
    producer, worker = MiniProducer(broker, history), MiniWorker(broker, history)
    if fuse is not None:
        fuse.light(operations)
    number = 0
    while not stop.is_set():
        number += 1
        if fuse is None and 3 * number > HEALTHY_JOBS:
            worker.turn(limit=4)
            continue
        producer.send(*(producer.request(fails=(number + at) % 5 == 0) for at in range(3)))
        worker.turn(limit=4)
    worker.close()
    broker.close()


def doom(folder: Path, kills: int, seed: int) -> None:
    """Fork `kills` writers, one by one; each must die by SIGKILL, and the file be whole."""
    draw = random.Random(seed)
    for kill in range(1, kills + 1):
        operations = kill if kill <= SWEPT else draw.randint(1, DRAWN_MAX)
        pid = os.fork()
        if pid == 0:
            fuse = Fuse(h.History(folder / "history.jsonl"))
            # A VFS is registered as long as its object lives.
            vfs = FuseVfs(fuse)
            try:
                vfs.make_default()
                work(folder, fuse, operations, threading.Event())
            except BaseException:  # noqa: BLE001 - the forked process must not return
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"kill {kill} (n = {operations}): status {status}")
        check_file(folder / "penstock.db", f"kill {kill} (n = {operations})")


def check_file(path: Path, context: str) -> None:
    """Exit unless the file is whole."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5_000)
    found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    connection.close()
    if found != ["ok"]:
        raise SystemExit(f"integrity_check after {context}: {found}")


def main() -> None:
    """Read the arguments and work."""
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    if mode == "doomed":
        doom(folder, int(sys.argv[3]), int(sys.argv[4]))
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    work(folder, None, 0, stop)


if __name__ == "__main__":
    main()
