"""The batcher: who travels together, who waits, and who learns of what."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from penstock.client.batcher import FLIGHTS_MAX, Batcher


class Airport:
    """Flights that land when the test says so; records what each carried."""

    def __init__(self, *, batch_max: int = 100, has_cheap_flights: bool = False) -> None:
        self.flights: list[list[int]] = []
        self.departed = asyncio.Event()
        self.landings: list[asyncio.Future[None]] = []
        self.batcher: Batcher[int, int] = Batcher(
            self.fly,
            batch_max=batch_max,
            loop=asyncio.get_running_loop(),
            has_cheap_flights=has_cheap_flights,
        )

    async def fly(self, items: Sequence[int]) -> Sequence[int]:
        """Carry items and return their negatives."""
        self.flights.append(list(items))
        landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.landings.append(landing)
        self.departed.set()
        await landing
        return [-item for item in items]

    def ask(self, *items: int) -> list[asyncio.Task[int]]:
        """Ask for items, each in a task of its own."""
        return [asyncio.create_task(self.batcher.ask(item)) for item in items]

    async def until(self, flights: int) -> None:
        """Let the loop turn until so many flights have departed."""
        while len(self.flights) < flights:
            self.departed.clear()
            await self.departed.wait()


async def turn(times: int = 10) -> None:
    """Let the loop turn."""
    for _ in range(times):
        await asyncio.sleep(0)


def test_one_turn_is_one_flight() -> None:
    """Items asked for in one turn travel together and get their own answers."""

    async def main() -> None:
        airport = Airport()
        asked = airport.ask(1, 2, 3)
        await airport.until(1)
        airport.landings[0].set_result(None)
        assert await asyncio.gather(*asked) == [-1, -2, -3]
        assert airport.flights == [[1, 2, 3]]

    asyncio.run(main())


def test_a_lone_item_has_cheap_flights_where_flights_are_cheap() -> None:
    """It departs before the loop turns; who follows in that turn travels together behind it."""

    async def main() -> None:
        airport = Airport(has_cheap_flights=True)
        first = asyncio.ensure_future(airport.batcher.ask(1))
        asked = airport.ask(2, 3)
        await airport.until(2)
        assert airport.flights == [[1], [2, 3]]
        for landing in airport.landings:
            landing.set_result(None)
        assert await asyncio.gather(first, *asked) == [-1, -2, -3]

    asyncio.run(main())


def test_many_items_are_shared_out_where_flights_are_cheap() -> None:
    """Forty callers that ask again leave in two flights of twenty; dear flights stay whole."""

    async def caller(airport: Airport, number: int) -> None:
        for turn_number in range(2):
            await airport.batcher.ask(100 * turn_number + number)

    async def main(*, cheap: bool) -> list[int]:
        airport = Airport(has_cheap_flights=cheap)
        callers = [asyncio.create_task(caller(airport, number)) for number in range(40)]
        landed = 0
        while not all(one.done() for one in callers):
            await turn()
            for landing in airport.landings[landed:]:
                landing.set_result(None)
            landed = len(airport.landings)
        return [len(flight) for flight in airport.flights]

    assert asyncio.run(main(cheap=False)) == [40, 40]
    assert asyncio.run(main(cheap=True)) == [1, 39, 20, 20]


def test_items_gather_while_all_flights_are_out() -> None:
    """With `FLIGHTS_MAX` flights out, items wait, and leave together at the next landing."""

    async def main() -> None:
        airport = Airport()
        asked = []
        for item in range(FLIGHTS_MAX):
            asked += airport.ask(item)
            await airport.until(item + 1)
        for item in range(10, 15):
            asked += airport.ask(item)
            await turn()
        assert len(airport.flights) == FLIGHTS_MAX
        airport.landings[0].set_result(None)
        await airport.until(FLIGHTS_MAX + 1)
        assert airport.flights[-1] == [10, 11, 12, 13, 14]
        for landing in airport.landings[1:]:
            landing.set_result(None)
        assert await asyncio.gather(*asked) == [0, -1, -10, -11, -12, -13, -14]

    asyncio.run(main())


def test_large_turns_are_cut() -> None:
    """No flight carries more than `batch_max`; the rest leaves on further flights."""

    async def main() -> None:
        airport = Airport(batch_max=2)
        asked = airport.ask(1, 2, 3, 4, 5)
        await airport.until(2)
        airport.landings[0].set_result(None)
        await airport.until(3)
        for landing in airport.landings[1:]:
            landing.set_result(None)
        await asyncio.gather(*asked)
        assert airport.flights == [[1, 2], [3, 4], [5]]

    asyncio.run(main())


def test_cancelled_passenger_is_left_out_or_ignored() -> None:
    """Cancelled before departure: not carried. Cancelled in the air: the others arrive."""

    async def main() -> None:
        airport = Airport()
        asked = airport.ask(1, 2, 3)
        await asyncio.sleep(0)
        asked[0].cancel()
        await airport.until(1)
        assert airport.flights == [[2, 3]]
        asked[1].cancel()
        await turn()
        airport.landings[0].set_result(None)
        assert await asked[2] == -3
        results = await asyncio.gather(*asked[:2], return_exceptions=True)
        assert [type(one) for one in results] == [asyncio.CancelledError] * 2

    asyncio.run(main())


def test_flight_of_none_does_not_depart() -> None:
    """When all passengers are cancelled in time there is no flight, and later ones still go."""

    async def main() -> None:
        airport = Airport()
        asked = airport.ask(1)
        await asyncio.sleep(0)
        asked[0].cancel()
        await turn()
        assert airport.flights == []
        later = airport.ask(2)
        await airport.until(1)
        airport.landings[0].set_result(None)
        assert await later[0] == -2

    asyncio.run(main())


def test_crash_of_a_flight_reaches_its_passengers_only() -> None:
    """An error of one flight is raised in each of its callers, and the next flight is whole."""

    async def main() -> None:
        airport = Airport()
        asked = airport.ask(1, 2)
        await airport.until(1)
        later = airport.ask(3)
        await airport.until(2)
        airport.landings[0].set_exception(OSError("down"))
        airport.landings[1].set_result(None)
        assert await later[0] == -3
        for task in asked:
            with pytest.raises(OSError, match="down"):
                await task

    asyncio.run(main())


def test_loop_that_ends_leaves_no_caller_behind() -> None:
    """When the loop is torn down, callers in the air are cancelled, not left waiting."""
    seen: list[Any] = []

    async def passenger(airport: Airport) -> None:
        try:
            await airport.batcher.ask(1)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        airport = Airport()
        task = asyncio.create_task(passenger(airport))
        await airport.until(1)
        assert not task.done()

    asyncio.run(main())
    assert seen == ["cancelled"]
