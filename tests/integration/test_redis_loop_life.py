"""The connection of an event loop, from its first call to the end of loop, broker, process."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock import App
from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker
from penstock.brokers.redis import RedisBroker
from penstock.errors import OutcomeUnknown, Unavailable, WrongContext
from tests.support.eventually import eventually
from tests.support.port_actor import PortActor
from tests.support.redis_programs import ROOT, run
from tests.support.redis_server import RedisServer

#: Seconds for what should happen.
SOON_S = 30.0
#: Loops, one after the other.
LOOPS = 20


@pytest.fixture
def url(redis: RedisServer) -> str:
    """The URL of a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    return redis.url


class Producer:
    """An app that enqueues in event loops.

    Attributes:
        app: with one task.
    """

    def __init__(self, url: str) -> None:
        self.app = App(url)

        @self.app.task(name="double")
        async def double(n: int) -> int:
            return 2 * n

        self._double = double

    async def enqueue(self, *numbers: int) -> list[str]:
        """Enqueue jobs and return their ids."""
        calls = [self._double.call(number) for number in numbers]
        return [job.id for job in await self.app.aenqueue_many(calls)]

    def queued(self) -> int:
        """Return how many jobs wait."""
        return self.app.broker.counts()[0].queued


@pytest.fixture
def producer(url: str) -> Iterator[Producer]:
    """One on the server of the tests."""
    made = Producer(url)
    yield made
    made.app.close()


class Connections:
    """What connections the server has got since the test began."""

    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis
        self._before = self._names()

    def new(self) -> int:
        """Return how many of them are there."""
        return len(self._names() - self._before)

    def wait(self, count: int) -> None:
        """Return once there are so many; the server takes a moment to see that one has ended."""
        eventually(
            lambda: self.new() == count,
            within_s=SOON_S,
            what=f"{count} connections",
            state=self._names,
        )

    def _names(self) -> set[str]:
        with closing(self._redis.client()) as client:
            mine = client.client_id()
            return {one["id"] for one in client.client_list() if int(one["id"]) != mine}


@pytest.fixture
def connections(redis: RedisServer) -> Connections:
    """Those that the server gets from now on."""
    return Connections(redis)


def sockets() -> int:
    """Return how many descriptors of this process are sockets."""
    descriptors = [one for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    return sum(str(one.readlink()).startswith("socket:") for one in descriptors)


def test_loops_one_after_the_other_leave_no_connections(
    connections: Connections, producer: Producer
) -> None:
    """A loop that ends without closing anything is followed by another: one connection is left."""
    ids: list[str] = []
    gc.disable()
    try:
        for number in range(LOOPS):
            ids += asyncio.run(producer.enqueue(number))
    finally:
        gc.enable()
    # Besides that of the last loop there is the one that opened the broker.
    connections.wait(2)
    assert len(set(ids)) == LOOPS == producer.queued()


def test_loops_of_several_threads_have_a_connection_each(
    connections: Connections, producer: Producer
) -> None:
    """Two loops at once neither wait for each other nor get each other's answers."""
    together = threading.Barrier(2)
    found: list[list[str]] = []

    async def use(start: int) -> list[str]:
        ids = await producer.enqueue(start)
        await asyncio.to_thread(together.wait, SOON_S)
        for number in range(1, 50):
            ids += await producer.enqueue(start + number)
            assert (await producer.app.job(ids[-1]).astatus()).value == "queued"
        await asyncio.to_thread(together.wait, SOON_S)
        connections.wait(3)
        await asyncio.to_thread(together.wait, SOON_S)
        return ids

    threads = [
        threading.Thread(target=lambda at=at: found.append(asyncio.run(use(at)))) for at in (0, 100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job_id for ids in found for job_id in ids}) == 100
    assert producer.queued() == 100


def test_a_loop_that_ended_leaves_no_descriptor(url: str) -> None:
    """Nobody closed face or broker; once they are forgotten nothing is open and nothing warns."""
    before = sockets()

    def use() -> None:
        broker = RedisBroker.open(url)
        face = broker.loop_face()
        assert asyncio.run(counted(face)) == 0
        assert sockets() == before + 2

    use()
    gc.collect()
    assert sockets() == before


async def counted(face: AsyncBroker) -> int:
    """Return how many queues there are."""
    return len(await face.counts())


def test_a_face_that_is_forgotten_leaves_its_loop(connections: Connections, url: str) -> None:
    """A loop that goes on keeps no connection open for a face that nobody has any more."""

    async def use(broker: RedisBroker) -> None:
        for _ in range(3):
            await counted(broker.loop_face())
            gc.collect()
        # A turn for what was asked of the loop from outside.
        await asyncio.sleep(0)
        connections.wait(1)

    with closing(RedisBroker.open(url)) as broker:
        asyncio.run(use(broker))


@pytest.mark.parametrize("end", ["", "app.close()", "del app; gc.collect()"])
def test_a_process_may_end_without_closing(url: str, end: str) -> None:
    """A program that closes nothing, or late, writes no warning."""
    program = f"""
import asyncio, gc
from penstock import App
app = App({url!r})
@app.task(name="double")
async def double(n: int) -> int:
    return 2 * n
async def main():
    return [await double.aenqueue(n) for n in range(3)]
asyncio.run(main())
asyncio.run(main())
del double
{end}
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_close_from_another_thread_ends_calls_in_flight(redis: RedisServer, url: str) -> None:
    """Who waits in a loop is told at once, and later calls are refused as of a closed broker."""

    async def use(broker: RedisBroker, actor: PortActor) -> list[type]:
        face = broker.loop_face()
        await face.counts()
        request = actor.request()
        redis.stop_still()
        try:
            calls = asyncio.gather(face.enqueue([request]), face.counts(), return_exceptions=True)
            await asyncio.sleep(0)
            await asyncio.to_thread(broker.close)
            answers = await calls
        finally:
            redis.go_on()
        with pytest.raises(WrongContext, match="is closed"):
            await face.counts()
        return [type(answer) for answer in answers]

    with closing(RedisBroker.open(url, answer_timeout_s=SOON_S)) as broker:
        actor = PortActor(broker)
        actor.put()
        assert asyncio.run(use(broker, actor)) == [OutcomeUnknown, Unavailable]


def test_close_while_a_loop_connects_leaves_nothing_open(
    connections: Connections, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told that the broker is closed, though its connection came up afterwards."""
    connecting, closed = threading.Event(), threading.Event()

    async def use(broker: RedisBroker) -> None:
        call = asyncio.create_task(broker.loop_face().counts())
        await asyncio.to_thread(connecting.wait, SOON_S)
        broker.close()
        closed.set()
        with pytest.raises(WrongContext, match="is closed"):
            await call

    with closing(RedisBroker.open(url)) as broker:
        dial = broker._server.dial

        def slowly() -> Any:
            wire = dial()
            connecting.set()
            assert closed.wait(SOON_S)
            return wire

        monkeypatch.setattr(broker._server, "dial", slowly)
        asyncio.run(use(broker))
    connections.wait(0)


def test_a_loop_that_ends_while_it_connects_leaves_nothing_open(
    connections: Connections, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that came up for nobody is closed, without a warning."""
    connecting, ended = threading.Event(), threading.Event()

    async def use(broker: RedisBroker) -> None:
        call = asyncio.create_task(broker.loop_face().counts())
        await asyncio.to_thread(connecting.wait, SOON_S)
        call.add_done_callback(lambda _call: ended.set())

    with closing(RedisBroker.open(url)) as broker:
        dial = broker._server.dial

        def slowly() -> Any:
            wire = dial()
            connecting.set()
            assert ended.wait(SOON_S)
            return wire

        monkeypatch.setattr(broker._server, "dial", slowly)
        asyncio.run(use(broker))
        gc.collect()
        connections.wait(1)


def test_an_app_that_was_closed_opens_again(connections: Connections, producer: Producer) -> None:
    """In the same loop, as often as one likes; what was open before is not left behind."""

    async def use() -> None:
        for number in range(3):
            await producer.enqueue(number)
            await asyncio.to_thread(producer.app.close)

    asyncio.run(use())
    assert producer.queued() == 3
    producer.app.close()
    connections.wait(0)


def test_parent_and_child_go_on_after_a_fork(url: str) -> None:
    """With a connection open in its loop a process forks: each has its own, in loops of their own.

    What the child closes is closed for the child alone.
    """
    printed = run("fork_in_loop", url)
    ids = [job_id for line in printed for job_id in line.split()]
    assert len(ids) == len(set(ids)) == 1 + 5 * (2 + 1) + 1
    with closing(RedisBroker.open(url)) as broker:
        page = broker.list_jobs(r.JobFilter(), limit=500, before=None)
        assert {job.id for job in page.jobs} == set(ids)
