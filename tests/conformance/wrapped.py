"""Brokers seen through others: as an event loop sees them, and through faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from penstock.broker.protocol import AsyncBroker, Broker
from penstock.broker.threaded import ThreadedBroker
from penstock.core.ids import JobId
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.testing.conformance import Capability, Harness

Wrap = Callable[[Broker], Broker]


class Blocking:
    """An async broker called from sync code, each call in an event loop of its own."""

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        method = getattr(self._broker, verb)
        return lambda *args, **kwargs: asyncio.run(method(*args, **kwargs))


class Insisting:
    """A broker whose calls are made again until they answer, as a patient caller does."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        method = getattr(self._broker, verb)

        def insist(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return method(*args, **kwargs)
                except (Unavailable, OutcomeUnknown):
                    continue

        return insist


def through_threads(broker: Broker) -> Broker:
    """Return `broker` as an event loop would have it, called from sync code."""
    return cast("Broker", Blocking(ThreadedBroker(broker)))


def insisting(broker: Broker) -> Broker:
    """Return `broker`, with each failed call made again."""
    return cast("Broker", Insisting(broker))


class WrappedHarness:
    """A harness whose handles are wrapped."""

    def __init__(self, harness: Harness, wrap: Wrap) -> None:
        self._harness = harness
        self._wrap = wrap

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the broker within can do."""
        return self._harness.capabilities

    @property
    def payload_bytes_max(self) -> int:
        """As the broker within."""
        return self._harness.payload_bytes_max

    def open(self) -> Broker:
        """Return a wrapped handle."""
        return self._wrap(self._harness.open())

    def wall_ms(self) -> int:
        """Return wall time."""
        return self._harness.wall_ms()

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._harness.advance(ms)

    def step_wall(self, ms: int) -> None:
        """Set the wall clock."""
        self._harness.step_wall(ms)

    def reboot(self) -> None:
        """Start another boot."""
        self._harness.reboot()

    def poison(self, job_id: JobId, spec: bytes) -> None:
        """Write over the stored spec."""
        self._harness.poison(job_id, spec)

    def close(self) -> None:
        """Close the harness within."""
        self._harness.close()
