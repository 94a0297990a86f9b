"""Programs that fork with an open SQLite broker: `python -m tests.support.sqlite_fork NAME PATH`.

The child of each must get by on its own: it prints what it did, and leaves by `os._exit`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from penstock.broker.clock import SystemClock
from penstock.brokers.sqlite import SqliteBroker, file
from penstock.errors import WrongContext
from tests.support.sqlite_actor import QUEUE, Actor, say

#: A log that `prune` moves: more than it leaves alone.
LOG_BYTES = 2**20 + 100_000


def in_child(run: Callable[[], None]) -> int:
    """Fork; `run` is called in the child, which then ends. Return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        except BaseException as error:
            say("child failed:", type(error).__name__, error)
            raise
        finally:
            os._exit(0)
    return pid


def parent_closes(path: str) -> None:
    """The parent closes the file while the child writes to it."""
    actor = Actor(path)
    say(*actor.put())
    closed_out, closed_in = os.pipe()
    ready_out, ready_in = os.pipe()

    def child() -> None:
        say(*actor.put())
        os.write(ready_in, b"x")
        os.read(closed_out, 1)
        say(*actor.put())

    pid = in_child(child)
    os.read(ready_out, 1)
    say(*actor.put())
    actor.broker.close()
    os.write(closed_in, b"x")
    os.waitpid(pid, 0)


def child_closes(path: str) -> None:
    """The child closes its handle; the parent's works on."""
    actor = Actor(path)
    say(*actor.put())
    os.waitpid(in_child(actor.broker.close), 0)
    say(*actor.put())


def locks(path: str) -> None:
    """The child prints on how many of the file and its shared memory it holds a lock."""
    actor = Actor(path)
    actor.put()

    def child() -> None:
        actor.broker.counts()
        files = {Path(path + part).stat().st_ino for part in ("", "-shm")}
        held: set[int] = set()
        # The kernel writes the list piece by piece: a lock that goes meanwhile can hide another.
        for _ in range(20):
            lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            mine = [line for line in lines if line[4] == str(os.getpid())]
            held |= {int(line[5].split(":")[2]) for line in mine} & files
        say(len(held))

    os.waitpid(in_child(child), 0)


def under_load(path: str) -> None:
    """Eight threads enqueue while the process forks again and again; each child writes once."""
    actor = Actor(path)
    requests = [[actor.request() for _ in range(100)] for _ in range(8)]

    def enqueue(place: int) -> None:
        for request in requests[place]:
            (answer,) = actor.broker.enqueue([request])
            say("duplicate" if getattr(answer, "duplicate", True) else request.id)

    threads = [threading.Thread(target=enqueue, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        os.waitpid(in_child(lambda: say(*Actor.put(actor))), 0)


def listener(path: str) -> None:
    """The child may not steal the wake-ups of its parent, nor take its address away."""
    actor = Actor(path)
    place = actor.broker.listen()
    lease = actor.lease()
    actor.broker.claim(actor.claim_request(lease, limit=1, wake_token=place.token))

    def child() -> None:
        with suppress(WrongContext):
            place.drain()
            say("child drained")
        place.close()
        actor.put()

    os.waitpid(in_child(child), 0)
    say("woken" if place.wait(30) else "not woken")


def while_the_log_is_moved(path: str) -> None:
    """The process forks while a thread moves the log; the parent closes, and the child goes on."""
    actor = Actor(path)
    log = Path(f"{path}-wal")
    while log.stat().st_size < LOG_BYTES:
        actor.put()
    inside, go_on = threading.Event(), threading.Event()
    module: Any = file
    connect = module.connect

    class Held:
        """A connection that stands still once it has moved the log."""

        def __init__(self, connection: apsw.Connection) -> None:
            self._connection = connection

        def pragma(self, name: str) -> object:
            """Pass it on."""
            return self._connection.pragma(name)

        def wal_checkpoint(self, *, mode: int) -> None:
            """Move the log, tell, and stand still."""
            self._connection.wal_checkpoint(mode=mode)
            inside.set()
            # Only a broker that lets a fork happen meanwhile sets this; others wait it out.
            go_on.wait(0.5)

        def close(self) -> None:
            """Pass it on."""
            self._connection.close()

    module.connect = lambda *words, **options: Held(connect(*words, **options))
    mover = threading.Thread(target=actor.broker.prune, args=([QUEUE], ()), kwargs={"limit": 1})
    mover.start()
    inside.wait()
    module.connect = connect
    closed_out, closed_in = os.pipe()
    ready_out, ready_in = os.pipe()

    def child() -> None:
        say(*actor.put())
        os.write(ready_in, b"x")
        os.read(closed_out, 1)
        say(*actor.put())

    pid = in_child(child)
    os.read(ready_out, 1)
    go_on.set()
    mover.join()
    actor.broker.close()
    os.write(closed_in, b"x")
    os.waitpid(pid, 0)


class HeldClock(SystemClock):
    """A clock that stands still inside a transaction until it is told to go on."""

    def __init__(self) -> None:
        """Let time be told at once, until `holds` is set."""
        super().__init__()
        self.holds = False
        self.is_held = threading.Event()
        self.goes_on = threading.Event()

    def wall_ms(self) -> int:
        """Return wall time, late while this clock holds."""
        if self.holds:
            self.is_held.set()
            self.goes_on.wait(30)
        return super().wall_ms()


def opened_meanwhile(path: str) -> None:
    """While a fork waits for a transaction of one file, another thread opens a second one."""
    forking, opened = threading.Event(), threading.Event()
    clock = HeldClock()
    broker = SqliteBroker.open(path, clock=clock)
    clock.holds = True
    # Hooks run newest first, so this one tells that those of the open broker are about to.
    os.register_at_fork(before=forking.set)

    def open_second() -> None:
        forking.wait(30)
        Actor(path + "-second")
        opened.set()

    def let_go() -> None:
        forking.wait(30)
        # Only a broker that can be opened in the midst of a fork sets this; others wait it out.
        opened.wait(0.5)
        clock.holds = False
        clock.goes_on.set()

    calls = (lambda: broker.register(["other"]), open_second, let_go)
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    clock.is_held.wait(30)
    os.waitpid(in_child(lambda: say("child", len(Actor(path).put()))), 0)
    for thread in threads:
        thread.join(30)
    say("parent", len(Actor(path).put()), "second", len(Actor(path + "-second").put()))
    say("opened" if opened.is_set() else "not opened")


PROGRAMS: dict[str, Callable[[str], None]] = {
    "parent-closes": parent_closes,
    "child-closes": child_closes,
    "locks": locks,
    "under-load": under_load,
    "while-the-log-is-moved": while_the_log_is_moved,
    "listener": listener,
    "opened-meanwhile": opened_meanwhile,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
