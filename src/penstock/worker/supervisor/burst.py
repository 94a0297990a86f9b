"""Ending by itself once nothing is left to do (`--burst`)."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from penstock.core.demand import demand_of, in_words
from penstock.core.job import SHARED, THREAD, THREAD_FULL
from penstock.core.memory import mib
from penstock.core.need import is_alone, sizes_of
from penstock.core.wording import counted
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import backoff_ms

from .children import Children
from .parts import Parts
from .runners import Runners

_log = logging.getLogger("penstock.worker")

#: Seconds between two looks.
_LOOK_S: Final = 0.1
#: Ready sets that runners claim from.
_OF_RUNNERS: Final = frozenset({SHARED, THREAD, THREAD_FULL})
_JOBS_WAIT: Final = ("job waits", "jobs wait")


class Burst:
    """Watches for the end: runners say that they are drained, then the queues are looked at.

    A broker that does not answer until the leases have run out is not waited for any longer: what
    ran under them belongs to others by then.
    """

    def __init__(self, parts: Parts, runners: Runners, children: Children) -> None:
        """Ask these parts."""
        self._parts = parts
        self._runners = runners
        self._children = children
        self._settled = 0
        self._fruitless = 0

    async def run(self) -> None:
        """Ask the worker to end once no job of its queues is claimable, due soon or running."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._is_given_up():
                return
            # Drained runners are not started again before this loop has looked.
            if self._runners.keeps or self._runners.all or not self._children.is_at_rest:
                continue
            try:
                await self._look()
            except (Unavailable, OutcomeUnknown):
                continue
            if self._parts.stopping.drain.is_set():
                return

    def _is_given_up(self) -> bool:
        link, stopping = self._parts.link, self._parts.stopping
        if link.failing_since_ms is None or stopping.drain.is_set():
            return stopping.drain.is_set()
        gone_ms = link.clock.boot_ms() - link.failing_since_ms
        if gone_ms < self._parts.settings.lease_ttl_ms:
            return False
        _log.error(
            "burst: the broker has not answered for %.0f s: %s", gone_ms / 1000, link.last_error
        )
        stopping.gave_up = True
        stopping.request("burst: the broker is gone")
        return True

    async def _look(self) -> None:
        link, queues = self._parts.link, self._parts.settings.queues
        counts = {one.queue: one for one in await link.ask(link.broker.counts()) if not one.paused}
        needs = await link.ask(link.broker.needs(queues))
        waiting = {queue: names for queue, names in needs.items() if names and queue in counts}
        sets = [(queue, need) for queue, names in waiting.items() for need in names]
        offered = {need for _, need in sets}
        if offered & _OF_RUNNERS:
            await self._start_runners()
        elif any(is_alone(one[1]) and self._parts.budget.counting.could_hold(one) for one in sets):
            self._children.bell.ring()
        elif not self._children.is_due_soon and self._children.is_at_rest:
            if waiting:
                _log.warning(
                    "%s that this worker cannot take (it may reserve %s): %s; see penstock explain",
                    counted(sum(counts[queue].queued for queue in waiting), *_JOBS_WAIT),
                    mib(self._parts.budget.total_bytes),
                    "; ".join(sorted({f"queue {queue}: {_takes(need)}" for queue, need in sets})),
                )
            self._parts.stopping.finish("burst: nothing is left to do, the worker ends")

    async def _start_runners(self) -> None:
        """Start the runners again; later each time while none of them settles anything."""
        is_fruitful = self._runners.settled > self._settled
        self._settled = self._runners.settled
        self._fruitless = 0 if is_fruitful else self._fruitless + 1
        if self._fruitless:
            await asyncio.sleep(backoff_ms(self._fruitless) / 1000)
        self._runners.keeps = True
        self._runners.bell.ring()


def _takes(need: str) -> str:
    """Return what the jobs of a ready set take, in words."""
    demand, sizes = demand_of(need), sizes_of(need)
    if demand is None:
        return f"what a newer release knows ({need})"
    parts = [] if sizes is None else [f"more than {mib(sizes.over_bytes)} of memory"]
    if beside := in_words(demand):
        parts.append(beside)
    return " and ".join(parts) or f"a part that it has not ({need})"
