"""The supervisor's calls on its broker: what must get through, and how the broker is doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from penstock.broker.protocol import AsyncBroker
from penstock.core.clock import Clock
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import retry_wait_s
from penstock.worker.reminder import Reminder

T = TypeVar("T")

_log = logging.getLogger("penstock.worker")

#: Milliseconds after which a call that failed and was not made again says nothing any more. All
#: loops try again within seconds; where each try waits for a lock, a minute can go by.
_FORGET_MS: Final = 60_000


class BrokerLink:
    """One broker, and when it last answered.

    A broker may answer one call and fail another: a file that was removed can still be read, one
    that is damaged can be written in places. So it answers again only once each verb that failed
    was answered.

    Attributes:
        broker: for the calls themselves.
        answered_at_ms: boot time of the last answer to any call; the start, before there was one.
        failing_since_ms: boot time of the first failure since it answered; None: it answers.
        last_error: text of the last failure while it fails.
        reminder: makes settlements again that the broker may have lost.
    """

    def __init__(self, broker: AsyncBroker, clock: Clock) -> None:
        """Believe in the broker until it fails."""
        self.broker = broker
        self.clock = clock
        self.answered_at_ms = clock.boot_ms()
        self.failing_since_ms: int | None = None
        self.last_error: str | None = None
        self.reminder = Reminder(broker.settle)
        self._failed: dict[str, int] = {}

    async def ask(self, call: Awaitable[T]) -> T:
        """Await one call and note how it went.

        Raises:
            Unavailable, OutcomeUnknown: as the broker does; a loop tries again at its next turn.
        """
        # The verb: every call here is a coroutine of the broker.
        verb = getattr(call, "__name__", "")
        try:
            answer = await call
        except (Unavailable, OutcomeUnknown) as error:
            self._note_failure(verb, error)
            raise
        self._note_answer(verb)
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

    def _note_failure(self, verb: str, error: Exception) -> None:
        self.last_error = f"{type(error).__name__}: {error}"
        self.reminder.failed()
        self._failed[verb] = self.clock.boot_ms()
        if self.failing_since_ms is None:
            self.failing_since_ms = self._failed[verb]
            _log.warning("the broker does not answer, running jobs go on: %s", self.last_error)

    def _note_answer(self, verb: str) -> None:
        now_ms = self.clock.boot_ms()
        self.answered_at_ms = now_ms
        self.reminder.answered()
        self._failed.pop(verb, None)
        if any(now_ms - failed_ms < _FORGET_MS for failed_ms in self._failed.values()):
            return
        self._failed.clear()
        if self.failing_since_ms is not None:
            gone_s = (now_ms - self.failing_since_ms) / 1000
            _log.warning("the broker answers again, after %.1f s", gone_s)
            self.failing_since_ms = self.last_error = None
