"""Lets concurrent calls in one event loop share a round trip, without waiting for a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Round trips of one kind under way at once; beyond it calls gather for the next one. Two keep a
#: broker busy while the first answer travels; more would only make batches smaller.
FLIGHTS_MAX: Final = 2
#: Calls from which on they are shared out: fewer cost the broker more as two calls than they gain.
_SHARED_OUT_MIN: Final = 32
#: Fewer than one in so many of the last flight are few.
_FEW_PART: Final = 4


class Batcher(Generic[Item, Answer]):
    """Gathers the calls of one turn of the loop into one flight.

    Invariant: while anything waits, a departure is scheduled or a flight is out; where flights are
    dear, or many wait, as many as there may be are out.

    Args:
        fly: performs a batch and returns one answer per item, same order.
        batch_max: items of one flight.
        loop: the loop that everything here runs in.
        has_cheap_flights: a call that comes alone flies itself, without a task or a turn of the
            loop; many are shared out over the free flights, so that the broker works on one half
            while the loop takes in the other. False: all calls of one turn go together, where a
            flight is dear, as a commit to a disk is.
    """

    def __init__(
        self,
        fly: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        batch_max: int,
        loop: asyncio.AbstractEventLoop,
        has_cheap_flights: bool = False,
    ) -> None:
        self._has_cheap_flights = has_cheap_flights
        self._fly = fly
        self._batch_max = batch_max
        self._loop = loop
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._is_scheduled = False
        self._flights: set[asyncio.Task[None]] = set()
        self._lone = self._last_size = 0

    async def ask(self, item: Item) -> Answer:
        """Return the answer to one item.

        A caller cancelled before departure is left out; one cancelled later leaves the others
        alone, and what was asked for may have been done.
        """
        if self._has_cheap_flights and self._is_quiet():
            return await self._fly_alone(item)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, future))
        self._schedule()
        return await future

    def _is_quiet(self) -> bool:
        """Return whether calls come one by one: nothing is out, and one was in the last flight."""
        return not self._out and not self._is_scheduled and self._last_size <= 1

    async def _fly_alone(self, item: Item) -> Answer:
        self._lone += 1
        self._last_size = 1
        try:
            [answer] = await self._fly([item])
        finally:
            self._lone -= 1
            self._schedule()
        return answer

    @property
    def _out(self) -> int:
        """How many flights are under way."""
        return len(self._flights) + self._lone

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled and self._out < self._flights_max():
            self._is_scheduled = True
            # The callback runs after all that is ready in this turn has had its say.
            self._loop.call_soon(self._depart)

    def _depart(self) -> None:
        self._is_scheduled = False
        wanted = [entry for entry in self._waiting if not entry[1].done()]
        size = self._size(len(wanted))
        batch, self._waiting = wanted[:size], wanted[size:]
        if batch:
            self._last_size = len(batch)
            flight = self._loop.create_task(self._travel(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._arrive)
        self._schedule()

    def _flights_max(self) -> int:
        """Return how many flights there may be for those that wait now."""
        # After a large flight a few do not leave beside one that is out: what it carried will ask
        # again as it lands, and small flights would go on between the large ones for ever.
        few = self._has_cheap_flights and len(self._waiting) * _FEW_PART < self._last_size
        return 1 if few else FLIGHTS_MAX

    def _size(self, waiting: int) -> int:
        """Return how many of those that wait travel in the next flight."""
        free = FLIGHTS_MAX - self._out
        if self._has_cheap_flights and free > 1 and waiting >= _SHARED_OUT_MIN:
            return min(self._batch_max, -(-waiting // free))
        return self._batch_max

    def _arrive(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._schedule()

    async def _travel(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._fly([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is handed to those who asked
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
