"""One thread makes the calls of an async broker, whatever loops and processes come and go."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import warnings
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker, Broker
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobIdSource
from penstock.core.job import JobSpec
from penstock.errors import UsageError, WrongContext
from penstock.testing import ManualClock

#: Seconds until something that must happen counts as failed.
DEADLINE_S = 10.0


class Watched:
    """A broker of which the tests need one verb: it notes who called, and can be held up."""

    def __init__(self) -> None:
        self.callers: list[int] = []
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_called = threading.Event()
        self.is_closed = False

    def needs(self, queues: Sequence[str], /) -> dict[str, list[str]]:
        """Note the call and answer."""
        self.callers.append(threading.get_ident())
        self.asked += queues
        self.is_called.set()
        assert self.may_answer.wait(DEADLINE_S)
        return {}

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


def threaded(watched: Watched) -> ThreadedBroker:
    """Put a thread before a watched broker."""
    return ThreadedBroker(cast("Broker", watched))


def test_it_is_an_async_broker() -> None:
    """It has every verb of the async face, each a coroutine function."""
    broker: AsyncBroker = ThreadedBroker(MemoryBroker(ManualClock()))
    assert broker.rounds_at_once == 1
    verbs = [name for name, what in vars(AsyncBroker).items() if inspect.isfunction(what)]
    for verb in [verb for verb in verbs if not verb.startswith("_")]:
        assert inspect.iscoroutinefunction(getattr(broker, verb)), verb


def test_two_event_loops_share_one_instance() -> None:
    """A broker that was used in one loop goes on in the next, with the same store and thread."""
    broker = ThreadedBroker(MemoryBroker(ManualClock()))
    tags = asyncio.run(broker.register(["q"]))
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"))
    request = r.EnqueueRequest(id=JobIdSource().draw(1, tags["q"], 1), queue="q", spec=spec)
    asyncio.run(broker.enqueue([request]))
    (counts,) = asyncio.run(broker.counts())
    asyncio.run(broker.close())
    assert counts.queued == 1


def test_all_calls_are_made_by_one_thread_that_is_no_loops() -> None:
    """Calls of many tasks and loops come from the same thread, which is not the caller's."""
    watched = Watched()
    broker = threaded(watched)

    async def many() -> None:
        await asyncio.gather(*(broker.needs([str(number)]) for number in range(20)))

    asyncio.run(many())
    asyncio.run(many())
    asyncio.run(broker.close())
    assert len(watched.callers) == 40
    assert len(set(watched.callers)) == 1
    assert threading.get_ident() not in watched.callers
    assert watched.asked == [str(number) for number in range(20)] * 2


def test_the_loop_goes_on_while_a_call_is_held_up() -> None:
    """A slow store blocks the caller's task, not its loop."""
    watched = Watched()
    watched.may_answer.clear()
    broker = threaded(watched)

    async def work() -> None:
        waiting = asyncio.create_task(broker.needs(["slow"]))
        await asyncio.to_thread(watched.is_called.wait, DEADLINE_S)
        assert not waiting.done()
        watched.may_answer.set()
        await asyncio.wait_for(waiting, DEADLINE_S)
        await broker.close()

    asyncio.run(work())


def test_a_cancelled_await_leaves_the_broker_usable() -> None:
    """Who gives up waiting harms nobody: the call is made to its end, and the next one follows."""
    watched = Watched()
    watched.may_answer.clear()
    broker = threaded(watched)

    async def work() -> None:
        waiting = asyncio.create_task(broker.needs(["given up"]))
        await asyncio.to_thread(watched.is_called.wait, DEADLINE_S)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        watched.may_answer.set()
        await asyncio.wait_for(broker.needs(["next"]), DEADLINE_S)
        await broker.close()

    asyncio.run(work())
    assert watched.asked == ["given up", "next"]


def test_errors_come_back_as_they_are() -> None:
    """What the verb raises is raised by the await."""
    broker = ThreadedBroker(MemoryBroker(ManualClock()))
    with pytest.raises(UsageError, match="not registered"):
        asyncio.run(broker.pause("unknown"))
    asyncio.run(broker.close())


def test_closing_ends_the_thread_after_the_calls_before_it() -> None:
    """Calls made first are answered, later ones are refused, a second close does nothing."""
    watched = Watched()
    broker = threaded(watched)

    async def work() -> None:
        before = [asyncio.create_task(broker.needs([str(number)])) for number in range(5)]
        await asyncio.sleep(0)
        await broker.close()
        await asyncio.gather(*before)
        with pytest.raises(WrongContext):
            await broker.needs(["late"])
        await broker.close()

    asyncio.run(work())
    assert watched.is_closed
    assert len(watched.asked) == 5
    thread = next((t for t in threading.enumerate() if t.ident == watched.callers[0]), None)
    if thread is not None:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_forked_child_has_a_thread_of_its_own() -> None:
    """A fork copies the broker and not its thread; the child's calls are made all the same."""
    watched = Watched()
    broker = threaded(watched)
    asyncio.run(broker.needs(["parent"]))
    with warnings.catch_warnings():
        # Python 3.12 and later warn of what this test is about: a fork beside a thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # Nothing of pytest may run in the child: it leaves by os._exit, whatever happens.
        status = 1
        try:
            asyncio.run(asyncio.wait_for(broker.needs(["child"]), DEADLINE_S))
            status = 0 if watched.asked == ["parent", "child"] else 2
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    asyncio.run(broker.close())
    assert os.waitstatus_to_exitcode(waited) == 0
