"""Housekeeping in the store: promote what is due, expire what is late, prune what is old.

Every worker does it; the verbs are atomic per job and bounded per call, so that more workers only
find less to do. Claims promote what they need themselves: promotion here serves those who sleep.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from penstock.broker.requests import BATCH_MAX, Retention
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import retry_wait_s

from .link import BrokerLink

_log = logging.getLogger("penstock.worker")

#: Seconds between two looks, by verb. Promotion and expiry are due to the second; retention is not.
_PROMOTE_S: Final = 1.0
_EXPIRE_S: Final = 1.0
_PRUNE_S: Final = 10.0
#: Calls of one tick at most, so that one backlog does not hold up the store for everybody.
_CALLS_MAX: Final = 10
#: Seconds between two calls of one tick: claims and settlements go first.
_PAUSE_S: Final = 0.01


class Maintenance:
    """Three loops, one per verb.

    Attributes:
        done: jobs touched since the start, by verb.
        loops: (verb, seconds between two ticks, its call).
    """

    def __init__(self, link: BrokerLink, queues: Sequence[str], rules: Sequence[Retention]) -> None:
        """Look after `queues`, and keep final jobs by `rules`."""
        self._link = link
        broker = link.broker
        self.done = {"promote": 0, "expire": 0, "prune": 0}
        self.loops: tuple[tuple[str, float, Callable[[], Awaitable[int]]], ...] = (
            ("promote", _PROMOTE_S, partial(broker.promote, queues, limit=BATCH_MAX)),
            ("expire", _EXPIRE_S, partial(broker.expire, queues, limit=BATCH_MAX)),
            ("prune", _PRUNE_S, partial(broker.prune, queues, rules, limit=BATCH_MAX)),
        )

    async def run(self) -> None:
        """Run the loops, for ever."""
        async with asyncio.TaskGroup() as group:
            for verb, interval_s, call in self.loops:
                group.create_task(self._loop(verb, interval_s, call), name=verb)

    async def _loop(self, verb: str, interval_s: float, call: Callable[[], Awaitable[int]]) -> None:
        failures = 0
        while True:
            # Jitter keeps the workers of a host apart. After a failure the next look comes sooner:
            # only its answer tells that the broker does this verb again.
            wait_s = interval_s * random.uniform(0.8, 1.2)
            await asyncio.sleep(min(wait_s, retry_wait_s(failures)) if failures else wait_s)
            try:
                await self.tick(verb, call)
                failures = 0
            except (Unavailable, OutcomeUnknown) as error:
                failures += 1
                _log.debug("%s: %s; again later", verb, error)

    async def tick(self, verb: str, call: Callable[[], Awaitable[int]]) -> None:
        """Call until a batch comes back short, or the tick's share is used up."""
        for _ in range(_CALLS_MAX):
            count = await self._link.ask(call())
            self.done[verb] += count
            if count < BATCH_MAX:
                return
            await asyncio.sleep(_PAUSE_S)
