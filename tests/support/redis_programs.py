"""Programs on one Redis server: `python -m tests.support.redis_programs NAME URL`.

Each prints one line per fact, unbuffered, so that what was printed was true before it was printed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from penstock.broker.protocol import AsyncBroker
from penstock.broker.requests import Accepted
from penstock.brokers.redis import RedisBroker
from penstock.core.job import Claimed
from penstock.errors import WrongContext
from tests.support.port_actor import PortActor, completions, say

ROOT = Path(__file__).resolve().parents[2]


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


def wait_child(run: Callable[[], None]) -> None:
    """Call `run` in a forked child, and return when that has ended."""
    os.waitpid(in_child(run), 0)


def enqueue(url: str, jobs: str) -> None:
    """Enqueue jobs one by one and print each id once it is accepted."""
    actor = PortActor(RedisBroker.open(url))
    for _ in range(int(jobs)):
        say(*actor.put())


def work(url: str, until_completed: str) -> None:
    """Settle and claim until so many jobs are completed in all; print each id that was applied."""
    actor = PortActor(RedisBroker.open(url))
    lease = actor.lease()
    running: Sequence[Claimed] = ()
    while running or actor.broker.counts()[0].completed < int(until_completed):
        applied, answer = actor.broker.cycle(
            completions(running), actor.claim_request(lease, limit=20)
        )
        for job, one in zip(running, applied, strict=True):
            say(job.id, one.value)
        running = answer.jobs


def fork(url: str) -> None:
    """Threads enqueue while the process forks again and again; each child enqueues too."""
    broker = RedisBroker.open(url)
    actor = PortActor(broker)
    say(*actor.put())
    mine = connection_of(broker)
    others: list[int] = []

    def enqueue_many() -> None:
        for _ in range(200):
            say(*actor.put())

    def child() -> None:
        say(*actor.put(3))
        say("same connection" if connection_of(broker) == mine else "own connection")

    threads = [threading.Thread(target=enqueue_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        others.append(in_child(child))
        os.waitpid(others[-1], 0)
    for thread in threads:
        thread.join()
    os.waitpid(in_child(broker.close), 0)
    say(*actor.put())


def listener(url: str) -> None:
    """The child may not steal the wake-ups of its parent, nor take its address away."""
    actor = PortActor(RedisBroker.open(url))
    place = actor.broker.listen()
    actor.broker.claim(actor.claim_request(actor.lease(), limit=1, wake_token=place.token))

    def child() -> None:
        with suppress(WrongContext):
            place.drain()
            say("child drained")
        place.close()
        actor.put()

    os.waitpid(in_child(child), 0)
    say("woken" if place.wait(30) else "not woken")


def fork_in_loop(url: str) -> None:
    """A coroutine forks again and again while the line of its loop is open.

    Each child enqueues in a loop of its own by the broker that it inherited, and closes it.
    """
    broker = RedisBroker.open(url)
    actor = PortActor(broker)
    requests = [actor.request() for _ in range(1 + 5 * 3 + 1)]

    async def enqueue(face: AsyncBroker, count: int) -> None:
        mine = [requests.pop() for _ in range(count)]
        say(*(answer.id for answer in await face.enqueue(mine) if isinstance(answer, Accepted)))

    def child() -> None:
        asyncio.run(enqueue(broker.loop_face(), 2))
        broker.close()

    async def main() -> None:
        face = broker.loop_face()
        await enqueue(face, 1)
        for _ in range(5):
            waiting = asyncio.create_task(face.counts())
            await asyncio.sleep(0)
            wait_child(child)
            del requests[-2:]
            await waiting
            await enqueue(face, 1)
        await enqueue(face, 1)

    asyncio.run(main())


def connection_of(broker: RedisBroker) -> int:
    """Return the number by which the server knows the connection that is used next."""
    return int(broker._server.ask("CLIENT", "ID"))


def run(name: str, *words: object) -> list[str]:
    """Run one of these programs to its end and return the lines that it printed."""
    done = subprocess.run(
        # Python 3.12 and newer warn of any fork with threads; forking with them is what is tested.
        [sys.executable, "-W", "ignore", "-m", "tests.support.redis_programs", name]
        + [str(word) for word in words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.split("\n")[:-1]


PROGRAMS: dict[str, Callable[..., None]] = {
    "enqueue": enqueue,
    "work": work,
    "fork": fork,
    "fork_in_loop": fork_in_loop,
    "listener": listener,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
