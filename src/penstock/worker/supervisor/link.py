"""The supervisor's calls on its broker: what must get through, and how the broker is doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penstock.broker.protocol import AsyncBroker
from penstock.core.clock import Clock
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import retry_wait_s

T = TypeVar("T")

_log = logging.getLogger("penstock.worker")


class BrokerLink:
    """One broker, and when it last answered.

    Attributes:
        broker: for the calls themselves.
        answered_at_ms: boot time of the last answer; the start, before there was one.
        failing_since_ms: boot time of the first failure after the last answer; None: it answers.
        last_error: text of the last failure while it fails.
    """

    def __init__(self, broker: AsyncBroker, clock: Clock) -> None:
        """Believe in the broker until it fails."""
        self.broker = broker
        self.clock = clock
        self.answered_at_ms = clock.boot_ms()
        self.failing_since_ms: int | None = None
        self.last_error: str | None = None

    async def ask(self, call: Awaitable[T]) -> T:
        """Await one call and note how it went.

        Raises:
            Unavailable, OutcomeUnknown: as the broker does; a loop tries again at its next turn.
        """
        try:
            answer = await call
        except (Unavailable, OutcomeUnknown) as error:
            self._note_failure(error)
            raise
        self._note_answer()
        return answer

    async def insist(self, call: Callable[[], Awaitable[T]], *, what: str) -> T:
        """Call until the broker answers, with jitter; what it refuses is raised.

        Every verb of the port may be repeated with the same arguments, so a call whose outcome is
        unknown is simply made again.

        Args:
            call: makes the call anew each time, with the same ids and fences.
            what: named in the log.
        """
        failures = 0
        while True:
            try:
                return await self.ask(call())
            except (Unavailable, OutcomeUnknown) as error:
                failures += 1
                wait_s = retry_wait_s(failures)
                _log.debug("%s: %s; again in %.1f s", what, error, wait_s)
            await asyncio.sleep(wait_s)

    def _note_failure(self, error: Exception) -> None:
        self.last_error = f"{type(error).__name__}: {error}"
        if self.failing_since_ms is None:
            self.failing_since_ms = self.clock.boot_ms()
            _log.warning("the broker does not answer, running jobs go on: %s", self.last_error)

    def _note_answer(self) -> None:
        self.answered_at_ms = self.clock.boot_ms()
        if self.failing_since_ms is not None:
            gone_s = (self.answered_at_ms - self.failing_since_ms) / 1000
            _log.warning("the broker answers again, after %.1f s", gone_s)
            self.failing_since_ms = self.last_error = None
