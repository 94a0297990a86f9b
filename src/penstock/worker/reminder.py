"""Settles again what a server may have forgotten.

A server that crashes can lose what it answered last: on Redis with an append-only file of class
`local` up to 2 s of it, on PostgreSQL in that class up to 0.6 s. Where a settlement is lost and its
claim is not, the job runs in the records, under a lease that is alive, and nobody runs it. So
whoever settles keeps its settlements for a while and makes them again when the server was gone:
the fence tells those that were lost from those that were not.

A server forgets nothing without losing all its connections. Listeners have one, and count when it
is lost and when it is there again; calls that fail tell of what comes in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from penstock.broker.protocol import Listener
from penstock.broker.requests import BATCH_MAX, Durability
from penstock.core.ids import JobId
from penstock.core.job import StoredError
from penstock.core.settlement import Applied, Complete, Release, Settlement
from penstock.errors import OutcomeUnknown, PenstockError, Unavailable
from penstock.worker.pulse import retry_wait_s

_log = logging.getLogger("penstock.worker")

#: Seconds that a settlement is kept: what a server can lose, and as much again and more.
_KEPT_S: Final = 5.0
#: Settlements, and bytes of their results, that are kept at once: some seconds at full speed.
_KEPT_MAX: Final = 50_000
_KEPT_BYTES_MAX: Final = 16 * 2**20
#: Seconds from the first answer until they are made again: by then every answer that came before
#: the connection broke has been taken in, so that none is kept too late.
_AFTER_S: Final = 0.5


class _Kept(NamedTuple):
    """Settlements that were answered at once, and how much they hold."""

    at_s: float
    settlements: Sequence[Settlement]
    result_bytes: int


class Reminder:
    """Belongs to the thread of its loop.

    Args:
        settle: the broker's.
    """

    def __init__(
        self, settle: Callable[[Sequence[Settlement]], Awaitable[Sequence[Applied]]]
    ) -> None:
        self._listeners: list[Listener] = []
        self._settle = settle
        self._kept: deque[_Kept] = deque()
        self._count = 0
        self._bytes = 0
        self._failures = 0
        self._breaks_seen = 0
        self._due: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def watch(self, listeners: Iterable[Listener], durability: Durability | None) -> None:
        """Keep what is settled from now on, and see by these when the server was gone.

        Where settlements are on the disk before they are answered, none is forgotten or kept.

        Args:
            listeners: of the broker.
            durability: of the broker, which is that of its settlements; None: nobody knows.
        """
        if durability is not Durability.FSYNC:
            self._listeners += listeners

    def keep(self, settlements: Sequence[Settlement], applied: Sequence[Applied]) -> None:
        """Keep what the broker has written just now."""
        if not self._listeners or not settlements:
            return
        if Applied.STALE in applied:
            made = zip(settlements, applied, strict=True)
            settlements = [one for one, answer in made if answer is not Applied.STALE]
        now_s = asyncio.get_running_loop().time()
        size = sum(len(one.result or b"") for one in settlements if type(one) is Complete)
        # Bound: a result that does not fit is not kept; its job runs again if it was lost.
        if self._bytes + size > _KEPT_BYTES_MAX:
            settlements, size = [_without_result(one) for one in settlements], 0
        self._kept.append(_Kept(now_s, settlements, size))
        self._count += len(settlements)
        self._bytes += size
        # Race: while the server is away the last ones stay the last ones, however long it takes.
        oldest_s = now_s - _KEPT_S if self._breaks() == self._breaks_seen else 0.0
        while self._kept[0].at_s < oldest_s or self._count > _KEPT_MAX:
            self._drop()

    def failed(self) -> None:
        """A call was not answered: the server may be gone, whatever the listeners have seen of it.

        Race: one that goes twice while a listener has no connection is not seen by it in between.
        """
        self._failures += 1

    def answered(self) -> None:
        """The broker has answered a call: if it was gone before, see to what it may have lost."""
        if self._due is None and self._breaks() != self._breaks_seen:
            self._due = asyncio.get_running_loop().call_later(_AFTER_S, self._begin)

    def _breaks(self) -> int:
        return self._failures + sum(listener.breaks for listener in self._listeners)

    def _drop(self) -> None:
        gone = self._kept.popleft()
        self._count -= len(gone.settlements)
        self._bytes -= gone.result_bytes

    def _begin(self) -> None:
        # Race: what breaks from now on is seen by the next answer.
        self._breaks_seen, self._due = self._breaks(), None
        # They stay: what is not lost this time may be lost the next time, while it is still new.
        claims = {(one.id, one.fence): one for kept in self._kept for one in kept.settlements}
        if claims:
            self._task = asyncio.create_task(self._remind([*claims.values()]), name="reminder")

    async def _remind(self, settlements: Sequence[Settlement]) -> None:
        written = 0
        for batch in _batches(settlements):
            applied = await self._insist(batch)
            written += sum(answer is not Applied.STALE for answer in applied)
            # What was written just now is new again.
            self.keep(batch, applied)
        if written:
            _log.warning(
                "the broker had lost how %d attempts ended, and was told again: it is set up so "
                "that a crash takes the last moments",
                written,
            )

    async def _insist(self, batch: Sequence[Settlement]) -> Sequence[Applied]:
        failures = 0
        while True:
            try:
                return await self._settle(batch)
            except (Unavailable, OutcomeUnknown):
                failures += 1
                self.failed()
                await asyncio.sleep(retry_wait_s(failures))
            except PenstockError:
                _log.exception("%d settlements cannot be made again", len(batch))
                return [Applied.STALE] * len(batch)


def _batches(settlements: Iterable[Settlement]) -> Iterator[list[Settlement]]:
    """Cut what is to be settled into calls, in order: each job once in each of them."""
    batch: dict[JobId, Settlement] = {}
    for one in settlements:
        if one.id in batch or len(batch) == BATCH_MAX:
            yield [*batch.values()]
            batch = {}
        batch[one.id] = one
    if batch:
        yield [*batch.values()]


def _without_result(settlement: Settlement) -> Settlement:
    """Return what follows instead if a completion was lost whose result is not kept."""
    if type(settlement) is not Complete or not settlement.result:
        return settlement
    error = StoredError("interrupted", "the broker lost the result, and the worker had let it go")
    return Release(id=settlement.id, fence=settlement.fence, outcome="interrupted", error=error)
