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

from penstock.errors import WrongContext
from tests.support.sqlite_actor import Actor, say


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


PROGRAMS: dict[str, Callable[[str], None]] = {
    "parent-closes": parent_closes,
    "child-closes": child_closes,
    "locks": locks,
    "under-load": under_load,
    "listener": listener,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
