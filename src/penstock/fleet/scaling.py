"""Autoscale: looks at the backlog and tells the fleet how many workers of each kind there are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from penstock.broker.protocol import AsyncBroker
from penstock.broker.requests import LeaseFacts
from penstock.broker.threaded import loop_face
from penstock.config.settings import Settings
from penstock.connect import connect_as
from penstock.core.autoscale import Backlog, Scale, ScaleState, next_state
from penstock.errors import PenstockError
from penstock.worker.pulse import retry_wait_s

from .backlog import backlog_of
from .role import Role

_log = logging.getLogger("penstock.fleet")

#: Seconds between two looks: a worker takes about one to start, and a look costs two round trips.
LOOK_S: Final = 5.0
#: Seconds that a broker is given to be closed: a call that hangs must not keep the fleet alive.
_CLOSE_S: Final = 0.5


class Scaling:
    """Follows the backlog of those kinds of workers that may grow."""

    def __init__(
        self,
        roles: Sequence[Role],
        settings: Settings,
        set_count: Callable[[Role, int, Collection[int]], None],
        look_s: float = LOOK_S,
    ) -> None:
        """Call `set_count` whenever there should be more or fewer workers of a kind."""
        self._growing = [one for one in roles if one.table.most > one.table.least]
        self._settings = settings
        self._set_count = set_count
        self._look_s = look_s
        self._states = [ScaleState(one.table.least) for one in self._growing]

    async def run(self) -> None:
        """Look again and again, for ever; while the broker is away, the fleet stays as it is."""
        failures = 0
        while self._growing:
            try:
                broker = loop_face(await asyncio.to_thread(connect_as, self._settings))
                try:
                    while True:
                        await self._look(broker)
                        failures = 0
                        await asyncio.sleep(self._look_s)
                finally:
                    await _close(broker)
            except PenstockError as error:
                failures += 1
                _log.warning("autoscale: the backlog is not known, trying again: %s", error)
                await asyncio.sleep(retry_wait_s(failures))

    async def _look(self, broker: AsyncBroker) -> None:
        counts = await broker.counts()
        names = [one.queue for one in counts if one.queued]
        needs = await broker.needs(names) if names else {}
        busy = busy_workers(await broker.leases())
        for place, role in enumerate(self._growing):
            self._follow(place, role, backlog_of(role.queues, counts, needs), busy)

    def _follow(self, place: int, role: Role, backlog: Backlog, busy: Collection[int]) -> None:
        before = self._states[place]
        state = self._states[place] = next_state(before, backlog, self._scale(role))
        if state.count != before.count:
            _log.info(
                "autoscale: %s from %d to %d workers; %d jobs wait, %d run",
                role.table.name,
                before.count,
                state.count,
                backlog.queued,
                backlog.running,
            )
        # Also where nothing has changed: who was too busy to go may be idle by now.
        self._set_count(role, state.count, busy)

    def _scale(self, role: Role) -> Scale:
        slots = role.concurrency or self._settings.concurrency
        return Scale(
            least=role.table.least,
            most=role.table.most,
            jobs_per_worker=role.table.jobs_per_worker,
            bytes_per_worker=role.memory_bytes or 0,
            slots=slots,
        )


def busy_workers(leases: Iterable[LeaseFacts]) -> set[int]:
    """Return the processes of workers under whose leases jobs run, as their names tell them."""
    found = set()
    for one in leases:
        # A worker's name ends with the number of its supervisor and a suffix (`identity.py`).
        pid = one.owner.worker.rpartition("@")[2].partition("-")[0]
        if one.running and pid.isdecimal():
            found.add(int(pid))
    return found


async def _close(broker: AsyncBroker) -> None:
    with contextlib.suppress(PenstockError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await broker.close()
