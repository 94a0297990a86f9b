"""The part of a client that belongs to one event loop."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.broker.requests import BATCH_MAX, Accepted, Durability
from penstock.client import flow
from penstock.client.batcher import Batcher
from penstock.client.drive import adrive, aput_one
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.broker.requests import JobStatus
    from penstock.client.client import Client
    from penstock.client.faces import Face
    from penstock.core.ids import JobId
    from penstock.task import Call

T = TypeVar("T")


class LoopClient:
    """Performs flows in one event loop.

    Args:
        client: whose calls these are.
        broker: the face of its broker in this loop.
    """

    def __init__(self, client: Client, broker: Face) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._broker = broker
        self._enqueues: Batcher[Call[Any], Accepted | PenstockError] = Batcher(
            self.enqueue_many,
            batch_max=BATCH_MAX,
            loop=loop,
            has_cheap_flights=broker.rounds_at_once > 1,
        )
        self._peeks: Batcher[JobId, JobStatus | None] = Batcher(
            broker.peek, batch_max=BATCH_MAX, loop=loop
        )

    async def enqueue(self, call: Call[Any]) -> Accepted | PenstockError:
        """Enqueue one call, together with those of the same turn of the loop."""
        return await self._enqueues.ask(call)

    async def enqueue_many(
        self, calls: Sequence[Call[Any]], durability: Durability | None = None
    ) -> list[Accepted | PenstockError]:
        """Enqueue calls in order and return what became of each."""
        if len(calls) == 1 and (request := self._client.request(calls[0])) is not None:
            asked = calls[0].plan.durability or durability
            outcome = await aput_one(request, asked, self._broker, self._step)
            self._client.tell_enqueued(calls, [outcome])
            return [outcome]
        missing = self._client.missing(calls)
        tags: Mapping[str, int] = {}
        if missing:
            tags = await self.perform(flow.tags(missing, time.monotonic))
        requests = self._client.requests(calls, tags, durability)
        outcomes = await self.perform(flow.send_all(requests, time.monotonic))
        self._client.tell_enqueued(calls, outcomes)
        return outcomes

    async def perform(self, steps: flow.Flow[T]) -> T:
        """Perform a flow."""
        return await adrive(steps, self._step)

    async def _step(self, step: flow.Step) -> Any:
        match step:
            case flow.Register():
                return await self._broker.register(step.queues)
            case flow.Send():
                return await self._broker.enqueue(step.jobs, durability=step.durability)
            case flow.Peek():
                return await self._peeks.ask(step.id)
            case flow.Get():
                return await self._broker.get(step.id)
            case flow.Cancel():
                return (await self._broker.cancel([step.id]))[0]
            case flow.Pause():
                return await self._client.apause(step.seconds)


class LoopClients:
    """The loop clients of one client, one per process and running loop."""

    def __init__(self) -> None:
        self._by_loop: dict[int, tuple[weakref.ref[Any], int, LoopClient]] = {}

    def current(self, client: Client) -> LoopClient:
        """Return the one of the running loop, made now if need be.

        Raises:
            RuntimeError: no event loop is running.
        """
        loop = asyncio.get_running_loop()
        entry = self._by_loop.get(id(loop))
        # Race: an id is given again once a loop is gone, and inherited over a fork.
        if entry is not None and entry[0]() is loop and entry[1] == os.getpid():
            return entry[2]
        self._forget_finished()
        made = LoopClient(client, client.face())
        self._by_loop[id(loop)] = (weakref.ref(loop), os.getpid(), made)
        return made

    def _forget_finished(self) -> None:
        for key, (reference, _, _) in list(self._by_loop.items()):
            loop = reference()
            if loop is None or loop.is_closed():
                self._by_loop.pop(key, None)
