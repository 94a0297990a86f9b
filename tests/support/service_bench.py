"""A runner's service in the test's own event loop, over a broker that may fail."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from penstock import App
from penstock.broker.clock import SystemClock
from penstock.broker.protocol import AsyncBroker, Broker
from penstock.broker.requests import OpenLease, Owner
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.telemetry.events import Event
from penstock.worker import wire
from penstock.worker.pipe import Pipe
from penstock.worker.runner.service import Service

#: Seconds for anything to happen that should.
SOON_S = 30.0


class ServiceBench:
    """One app, one broker, and a service that meets it through `faulty`.

    Attributes:
        store: the broker as it is.
        events: what the service told its sink.
    """

    def __init__(self, store: Broker | None = None) -> None:
        """Make an app without tasks over an empty broker, one in memory unless given."""
        self.app = App("memory://")
        self.store = store or MemoryBroker(SystemClock())
        self.app.install_enqueuer(self.store)
        self.events: list[Event] = []
        self.app.add_event_sink(self.events.append)

    def run(
        self,
        beside: Callable[[Service], Awaitable[Any]] | None = None,
        *,
        faulty: Broker | None = None,
        face: Callable[[], AsyncBroker] | None = None,
        **changes: Any,
    ) -> bool:
        """Run a service to its end, with `beside` beside it; return what the service returned.

        Args:
            beside: ends the service with `service.take_in(Drain(...))`; None: a burst.
            faulty: the broker as the service sees it, in a thread; None: as it is.
            face: makes the async broker of the service's loop, instead of one over a thread.
            **changes: of the order to start.
        """
        made = face or (lambda: ThreadedBroker(faulty or self.store))
        return asyncio.run(self._run(beside, made, changes))

    async def _run(
        self,
        beside: Callable[[Service], Awaitable[Any]] | None,
        face: Callable[[], AsyncBroker],
        changes: dict[str, Any],
    ) -> bool:
        ours, theirs = socket.socketpair()
        order = wire.Start(
            worker="bench",
            url="memory://",
            lease=self.open_lease(),
            queues=("default",),
            coroutines=10,
            threads=2,
            drain_grace_ms=1_000,
            poll_ms=200,
            result_bytes_max=1_000,
            burst=beside is None,
        )
        pipe: Pipe[wire.ToRunner] = Pipe(theirs.detach(), wire.ToRunner, _hang_up)
        with ours:
            service = Service(
                self.app,
                msgspec.structs.replace(order, **changes),
                face(),
                pipe,
                SystemClock(),
            )
            running = asyncio.create_task(service.run())
            if beside is not None:
                await asyncio.wait_for(beside(service), SOON_S)
            try:
                return await asyncio.wait_for(running, SOON_S)
            finally:
                pipe.close()

    def open_lease(self) -> LeaseId:
        """Open a lease that outlives the test."""
        lease = LeaseId(secrets.token_hex(16))
        owner = Owner(
            worker="bench", host="h", boot_id="b", pid_namespace=1, pid=1, started_ticks=1
        )
        self.store.open_lease(OpenLease(id=lease, queues=("default",), owner=owner, ttl_ms=600_000))
        return lease

    def record(self, job_id: str) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.store.get(JobId(job_id))
        assert record is not None
        return record


async def until(is_so: Callable[[], object]) -> None:
    """Return once `is_so` holds. What it looks at is told by no event: a broker's, a thread's."""
    async with asyncio.timeout(SOON_S):
        while not is_so():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


def _hang_up() -> None:
    raise AssertionError("the channel was closed")
