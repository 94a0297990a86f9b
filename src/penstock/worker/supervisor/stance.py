"""Says with the supervisor's lease what the worker does not take for the moment, for `explain`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from penstock.core.admission import Set
from penstock.core.capacity import Capacity, Stance
from penstock.core.ids import LeaseId
from penstock.errors import OutcomeUnknown, Unavailable

from .parts import Parts

#: Seconds between two looks. Bound: one small write for each, and none where nothing has changed;
#: what comes and goes within it nobody waits for.
_LOOK_S: Final = 1.0


class StanceTeller:
    """Tells the broker whenever the worker's stance has changed."""

    def __init__(self, parts: Parts, held_for: Callable[[], Set | None]) -> None:
        """Have told nothing yet; `held_for` returns for which ready set the gate is held."""
        self._parts = parts
        self._held_for = held_for
        self._told: tuple[LeaseId, Stance | None] = parts.leases.own, None
        self._is_sure = True

    async def run(self) -> None:
        """Look and tell, for ever; what fails is told by the next look."""
        while True:
            with contextlib.suppress(Unavailable, OutcomeUnknown):
                await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Tell the stance, if the broker was told another one.

        Raises:
            Unavailable, OutcomeUnknown: as the broker does.
        """
        # A lease that takes the place of a lost one says nothing of it yet.
        lease, stance = self._parts.leases.own, self.stance()
        told = self._told[1] if self._told[0] == lease else None
        if self._is_sure and stance == told:
            return
        has = self._parts.leases.capacity or Capacity()
        now = msgspec.structs.replace(has, stance=stance)
        # Race: where no answer comes, nobody knows which of the two the broker tells.
        self._is_sure = False
        await self._parts.link.ask(self._parts.link.broker.restate(lease, now))
        self._told, self._is_sure = (lease, stance), True

    def stance(self) -> Stance | None:
        """Return what the worker does not take now; None: it takes whatever fits."""
        parts, held_for = self._parts, self._held_for()
        now = Stance(
            is_quiet=parts.stopping.is_shut,
            is_pressed=parts.pressure.is_high,
            held_for=held_for,
            held_bytes=0 if held_for is None else parts.budget.counting.bytes_of(held_for),
            wanted_bytes=0 if parts.budget.host is None else parts.budget.host.wanted_bytes,
        )
        return None if now == Stance() else now
