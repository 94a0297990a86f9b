"""What a worker does not take for the moment stands with its lease, as long as that lasts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.brokers.memory import MemoryBroker
from penstock.core.admission import Set
from penstock.core.capacity import Capacity, Stance
from penstock.core.ids import LeaseId
from penstock.core.memory import ASSUMED_BYTES
from penstock.errors import OutcomeUnknown
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.stance import StanceTeller
from tests.support.children_bench import ChildrenBench


class Restated(MemoryBroker):
    """A broker in memory that counts what is said anew, and loses some of its answers.

    Attributes:
        told: how often.
        loses: how many answers are lost from now on.
    """

    told = 0
    loses = 0

    def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Take it in."""
        self.told += 1
        super().restate(lease, capacity)
        if self.loses:
            self.loses -= 1
            raise OutcomeUnknown("the answer is lost by the test: call again")


def test_a_stance_is_told_when_it_changes(tmp_path: Path) -> None:
    """Quiet, pressure, and the set for which room is kept; nothing is written for nothing new."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            store = Restated(clock := ManualClock())
            bench = ChildrenBench(tmp_path, crew, store, clock)
            bench.parts.leases.capacity = Capacity(slots=1)
            await bench.open_lease()
            held_for: list[Set] = []
            teller = StanceTeller(bench.parts, lambda: held_for[0] if held_for else None)

            async def told() -> Stance | None:
                for _ in range(2):
                    await teller.look()
                (facts,) = store.leases()
                assert facts.capacity is not None
                assert facts.capacity.slots == 1
                return facts.capacity.stance

            assert (await told(), store.told) == (None, 0)
            bench.stopping.set_quiet(True)
            assert (await told(), store.told) == (Stance(is_quiet=True), 1)
            bench.stopping.set_quiet(False)
            bench.parts.pressure.is_high = True
            assert await told() == Stance(is_pressed=True)
            bench.parts.pressure.is_high = False
            held_for.append(("q", "alone"))
            held = Stance(held_for=("q", "alone"), held_bytes=ASSUMED_BYTES)
            assert (await told(), store.told) == (held, 3)
            # A lease that takes the place of the lost one knows nothing of it.
            store.close_leases([bench.parts.leases.own])
            await bench.open_lease()
            assert (await told(), store.told) == (held, 4)
            held_for.clear()
            store.loses = 1
            with pytest.raises(OutcomeUnknown):
                await teller.look()
            held_for.append(("q", "alone"))
            # As it was before, but nobody knows what the broker tells.
            assert (await told(), store.told) == (held, 6)
            bench.stopping.request("the test")
            now = await told()
            assert now is not None
            assert now.is_quiet
            await bench.close(crew)

    asyncio.run(main())
