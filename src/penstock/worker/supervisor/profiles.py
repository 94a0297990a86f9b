"""What the tasks of the app were measured to need, and how long their runs last.

Read from the broker, added to, and told to it: each worker adds what its own runs took, at once for
itself and soon for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from penstock.broker.requests import BATCH_MAX, Tally
from penstock.core.footprint import Footprint, Run, tally_of, tally_of_growth
from penstock.core.need import Profile
from penstock.core.pace import LIGHT_PART, Kind, Latest, Pace
from penstock.errors import OutcomeUnknown, PenstockError, Unavailable

from .link import BrokerLink
from .task_facts import Tasks

_log = logging.getLogger("penstock.worker")

#: Seconds between two times that runs are told to the broker.
_TELL_S: Final = 1.0
#: Seconds between two looks at what other workers have told.
_READ_S: Final = 15.0
#: Fields of one tally; a task with more buckets is told in parts.
_FIELDS_MAX: Final = 64


class Profiles:
    """Footprints and paces of the tasks that the app knows.

    Attributes:
        on_look: called about once a second, when something may have changed.
    """

    def __init__(self, link: BrokerLink, tasks: Tasks) -> None:
        """Know nothing yet."""
        self._link = link
        self._tasks = tasks
        self.on_look: Callable[[], None] = _nobody_looks
        self._footprints: dict[str, Footprint] = {}
        self._paces: dict[str, Pace] = {}
        self._latest: dict[str, Latest] = {}
        self._untold: dict[str, dict[str, float]] = {}

    def reservation_bytes(self, profile: Profile) -> int | None:
        """Return what the next job of a profile is to have; None: too little is known."""
        task = self._tasks.of_digest(profile.task_digest)
        footprint = None if task is None else self._footprints.get(task)
        return None if footprint is None else footprint.reservation_bytes(profile.bucket)

    def kinds(self, *, light_ms: float, light_bytes: int) -> dict[str, Kind]:
        """Return what the jobs of plain tasks are like, as far as that is known.

        Args:
            light_ms: how long those of a light task last at most.
            light_bytes: how much they take at most, where they ever ran in a child.
        """
        kinds: dict[str, Kind] = {}
        for task in self._tasks.plain:
            pace = self._paces.get(task)
            kind = Kind.UNKNOWN if pace is None else pace.kind(light_ms)
            if latest := self._latest.get(task):
                kind = latest.kind(kind, light_ms)
            footprint = self._footprints.get(task)
            took = None if footprint is None else footprint.quantile_bytes(LIGHT_PART)
            if kind is Kind.LIGHT and took is not None and took > light_bytes:
                kind = Kind.LONG
            if kind is not Kind.UNKNOWN:
                kinds[task] = kind
        return kinds

    def paced(self, task: str, sums: Mapping[str, float]) -> None:
        """Take in how long runs lasted (`core.pace.tells_pace`)."""
        facts = self._tasks.find(task)
        if facts is not None:
            self._paces.setdefault(facts.name, Pace({})).add(sums)
            self._latest.setdefault(facts.name, Latest()).add(sums)
            self._keep(facts.name, sums)

    def ran(self, task: str, run: Run) -> None:
        """Take in what a run took that went well."""
        facts = self._tasks.find(task)
        if facts is not None:
            sums = tally_of(run)
            self._footprints.setdefault(facts.name, Footprint({})).add(sums)
            self._keep(facts.name, sums)

    def grew(self, task: str, growth_bytes: int, at_ms: int) -> None:
        """Take in what a run has left in its child; negative: it held less after it than before."""
        facts = self._tasks.find(task)
        if facts is not None:
            sums = tally_of_growth(growth_bytes, at_ms)
            self._footprints.setdefault(facts.name, Footprint({})).add(sums)
            self._keep(facts.name, sums)

    async def run(self) -> None:
        """Read and tell, for ever."""
        loop = asyncio.get_running_loop()
        read_at_s = loop.time() - _READ_S
        while True:
            try:
                await self.tell()
                if loop.time() - read_at_s >= _READ_S:
                    await self.read()
                    read_at_s = loop.time()
                self.on_look()
            except (Unavailable, OutcomeUnknown) as error:
                _log.debug("profiles: %s", error)
            await asyncio.sleep(_TELL_S)

    async def read(self) -> None:
        """Read what all workers have told, and keep what this one has not told yet."""
        names = sorted({*self._tasks.isolated, *self._tasks.plain})
        for start in range(0, len(names), BATCH_MAX):
            part = names[start : start + BATCH_MAX]
            found = await self._link.ask(self._link.broker.footprints(part))
            for name in part:
                stored, untold = found.get(name, {}), self._untold.get(name, {})
                self._footprints[name] = footprint = Footprint(stored)
                self._paces[name] = pace = Pace(stored)
                footprint.add(untold)
                pace.add(untold)

    async def tell(self) -> None:
        """Tell the broker of the runs since the last time.

        Race: where no answer comes they may be counted or not, which a histogram bears.
        """
        untold, self._untold = self._untold, {}
        tallies = [one for name, sums in untold.items() for one in _tallies(name, sums)]
        while tallies:
            part = tallies[:BATCH_MAX]
            try:
                await self._link.ask(self._link.broker.learn(part))
            except Unavailable:
                for one in tallies:
                    self._keep(one.profile, one.adds)
                raise
            tallies = tallies[BATCH_MAX:]

    async def tell_last(self, within_s: float) -> None:
        """Tell what the last jobs took, at the end of the worker; what takes longer is lost."""
        with contextlib.suppress(PenstockError, TimeoutError):
            async with asyncio.timeout(within_s):
                await self.tell()

    def _keep(self, task: str, sums: Mapping[str, float]) -> None:
        kept = self._untold.setdefault(task, {})
        for name, amount in sums.items():
            kept[name] = kept.get(name, 0.0) + amount


def _nobody_looks() -> None:
    """Nobody wants to know."""


def _tallies(task: str, sums: Mapping[str, float]) -> Iterator[Tally]:
    names = sorted(sums)
    for start in range(0, len(names), _FIELDS_MAX):
        yield Tally(task, {name: sums[name] for name in names[start : start + _FIELDS_MAX]})
