"""Jobs put into the simulated world, and cancels asked for, by a client of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, cast

import msgspec

from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker
from penstock.core.ids import JobId, JobIdSource
from penstock.core.job import ALONE, SHARED, THREAD, JobSpec, Parent
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support import history as h
from tests.support.engine.jobs import QUEUE, Plan
from tests.support.engine.server import Server, SimulatedBroker, SimulatedClock

#: Jobs of one run: enough for most kinds to occur, few enough for thousands of runs.
JOBS = 14
#: Milliseconds that attempts run for; the last is some leases long.
_RUNS_MS = (1, 5, 20, 20, 100, 400, 1_500, 6_000)
_TASKS = (("act", SHARED),) * 4 + (("act_plain", THREAD),) * 2 + (("act_alone", ALONE),) * 2


class Producer:
    """Puts jobs in, some with keys, some delayed, some with parents, and cancels a part of them."""

    def __init__(self, server: Server, random: Random, record: Callable[[h.Event], None]) -> None:
        """Start with nothing enqueued."""
        self._broker = cast("AsyncBroker", SimulatedBroker(server))
        self._random = random
        self._record = record
        self._ids = JobIdSource()
        self._clock = SimulatedClock(server.loop, random.choice((-60_000, 0, 0, 3_000)))
        self._known: list[JobId] = []

    async def run(self) -> None:
        """Put `JOBS` jobs in over some seconds."""
        tag = (await self._surely(lambda: self._broker.register([QUEUE])))[QUEUE]
        cancels = []
        for number in range(JOBS):
            await asyncio.sleep(self._random.choice((0, 0, 0.01, 0.2, 0.6, 1.5)))
            await self._enqueue(tag, number)
            if self._known and self._random.random() < 0.3:
                cancels.append(asyncio.ensure_future(self._cancel()))
        await asyncio.gather(*cancels)

    async def _surely(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return await call()
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(self._random.uniform(0.01, 0.3))

    def _plan(self) -> Plan:
        random = self._random
        return Plan(
            run_ms=random.choice(_RUNS_MS),
            fails=random.choice((0,) * 7 + (1, 2, 9)),
            snoozes=int(random.random() < 0.05),
            ends=random.choice(("return",) * 18 + ("discard", "retry")),
            deaf=random.random() < 0.05,
            notes=random.random() < 0.4,
        )

    def _request(self, tag: int, number: int) -> r.EnqueueRequest:
        random = self._random
        task, need = random.choice(_TASKS)
        key = f"{task}-{number // 2}" if random.random() < 0.15 else None
        parents: tuple[Parent, ...] = ()
        if self._known and random.random() < 0.15:
            parents = (Parent(random.choice(self._known), random.random() < 0.5),)
        spec = JobSpec(
            task=task,
            payload=msgspec.Raw(msgspec.json.encode({"plan": self._plan()})),
            need=need,
            priority=random.randint(3, 7),
            key=key,
            expires_ms=random.choice((None,) * 9 + (700,)),
            timeout_ms=random.choice((None,) * 9 + (900,)),
        )
        return r.EnqueueRequest(
            id=self._ids.draw(self._clock.wall_ms(), tag, random.getrandbits(48)),
            queue=QUEUE,
            spec=spec,
            delay_ms=random.choice((None, None, None, 100, 1_200)),
            parents=parents,
            key_digest=None if key is None else str(random.randint(1, 3)),
        )

    async def _enqueue(self, tag: int, number: int) -> None:
        request = self._request(tag, number)
        here: dict[str, Any] = {"job": request.id, "key": request.spec.key}
        for _ in range(self._random.choice((1, 3, 3))):
            try:
                (answer,) = await self._broker.enqueue([request])
            except Unavailable:
                self._record(h.EnqueueFailed(kind="definite", **here))
                return
            except OutcomeUnknown:
                self._record(h.EnqueueFailed(kind="unknown", **here))
                continue
            if isinstance(answer, r.Refused):
                self._record(h.EnqueueFailed(kind="definite", **here))
                return
            accepted = h.Accepted(
                job=answer.id,
                key=request.spec.key,
                digest=request.key_digest,
                duplicate=answer.duplicate,
            )
            self._record(accepted)
            self._known.append(answer.id)
            return

    async def _cancel(self) -> None:
        job = self._random.choice(self._known)
        await asyncio.sleep(self._random.choice((0, 0.001, 0.01, 0.3, 1.0)))
        try:
            answer = str((await self._broker.cancel([job]))[0])
        except Unavailable:
            return
        except OutcomeUnknown:
            answer = "unknown"
        self._record(h.CancelReplied(job=job, answer=answer))
