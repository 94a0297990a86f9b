"""Deliberate defects in the real loops, for the self-test of the simulation.

Each replaces one class by a subclass with one method done wrongly, as small as in real code.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import Fence
from penstock.core.settlement import Applied, Settlement
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.runner.carrier import Carrier
from penstock.worker.runner.service import Service
from penstock.worker.supervisor.leases import Leases
from penstock.worker.supervisor.reclaim import Reclaim


class ForgetfulCarrier(Carrier):
    """A claim is made anew at each try, with a fresh fence: what one took is forgotten."""

    async def _call(self, settlements: Sequence[Settlement], request: r.ClaimRequest | None) -> Any:
        if request is not None:
            request = msgspec.structs.replace(request, fence=Fence(secrets.token_hex(16)))
        return await super()._call(settlements, request)


class HastyCarrier(Carrier):
    """A claim that finds its lease run out counts as empty, whatever an earlier try has taken.

    The defect that this simulation found first.
    """

    async def repeat(self, request: r.ClaimRequest) -> r.ClaimAnswer | None:
        """Believe the answer."""
        del request
        return r.ClaimAnswer(jobs=(), lease_open=False)


class CarelessCarrier(Carrier):
    """A settlement is sent once: where no answer comes it is taken for done."""

    async def _call(self, settlements: Sequence[Settlement], request: r.ClaimRequest | None) -> Any:
        try:
            return await super()._call(settlements, request)
        except (Unavailable, OutcomeUnknown):
            if request is not None or not settlements:
                raise
            return [Applied.APPLIED] * len(settlements), None


def _service(carrier: type[Carrier]) -> type[Service]:
    class PlantedService(Service):
        def __init__(self, *words: Any, **named: Any) -> None:
            super().__init__(*words, **named)
            whole = self.pump._carrier
            self.pump._carrier = carrier(self._broker, whole._is_current, whole._reminder)

    return PlantedService


class LazyLeases(Leases):
    """Leases are extended once in two of their lives."""

    def _wait_ms(self) -> int:
        return 2 * self._ttl_ms


class RashReclaim(Reclaim):
    """Every worker but this one is taken for dead."""

    async def _release_orphans(self) -> None:
        leases = await self._link.ask(self._link.broker.leases())
        others = [one.id for one in leases if one.owner.worker != self._identity.worker]
        await self._link.ask(self._link.broker.close_leases(others))


class ForgetfulReclaim(Reclaim):
    """A takeover whose answer was lost is made anew, with a fresh fence."""

    async def _take(self) -> r.ReclaimAnswer:
        self._unanswered = None
        return await super()._take()


class GracelessBroker(MemoryBroker):
    """The reaper does not hold after an outage: all who were cut off lose their jobs."""

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Reclaim as if reapers had never paused."""
        clock = self.store.clock
        self.store.reaper_tick = (clock.boot_id, clock.boot_ms())
        self.store.reaper_hold_until = 0
        return super().reclaim(request)


#: Name -> the classes that take the place of the engine's.
PLANTS: Mapping[str, Mapping[str, Any]] = {
    "claim-made-anew": {"runner": _service(ForgetfulCarrier)},
    "claim-believed-empty": {"runner": _service(HastyCarrier)},
    "settlement-given-up": {"runner": _service(CarelessCarrier)},
    "lease-extended-late": {"leases": LazyLeases},
    "living-taken-for-dead": {"reclaim": RashReclaim},
    "takeover-made-anew": {"reclaim": ForgetfulReclaim},
    "grace-dropped": {"broker": GracelessBroker},
}
