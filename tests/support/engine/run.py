"""One run of the engine from a seed: jobs in, faults, quiet, drain, dump."""

from __future__ import annotations

import asyncio
import gc
import logging
import random as global_random
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import msgspec

from penstock.brokers.memory import MemoryBroker
from penstock.core.lifecycle import FINAL, State
from tests.support import history as h
from tests.support.dump import Dump, take_dump
from tests.support.engine.jobs import Act, make_app
from tests.support.engine.loop import SimulatedLoop
from tests.support.engine.lossy import Losses
from tests.support.engine.nemesis import Nemesis
from tests.support.engine.processes import Host
from tests.support.engine.server import Server
from tests.support.engine.traffic import Producer
from tests.support.engine.worker import SimulatedWorker, settings
from tests.support.violation import Violation

#: Virtual seconds after the last fault within which every job is final, or the run has failed.
PATIENCE_S = 60.0
#: Virtual seconds after which a job that runs for nobody is left to the next worker: by then every
#: settlement has been tried again.
_STRANDED_S = 12.0
#: Kinds of worlds, in turn by seed.
MODES = ("network", "processes", "all", "lossy")
#: How far the wall clocks of the workers are off the broker's.
_SKEWS_MS = (-90_000, 4_000)
_NO_PLANTS: Mapping[str, Any] = {}


class Run(msgspec.Struct, kw_only=True):
    """What one seed gave.

    Attributes:
        crashes: what the engine did not foresee, or logged with a traceback.
        faults: injected, by kind.
    """

    seed: int
    mode: str
    events: list[h.Event]
    dump: Dump
    crashes: list[str]
    faults: Counter[str]
    turns: int
    seconds: float
    losses: Losses
    stranded: int

    def violations(self) -> list[Violation]:
        """Return what does not hold."""
        broken = [Violation(None, text, "crash") for text in self.crashes]
        return [*broken, *self.losses.violations(self.events, self.dump)]

    @property
    def lost(self) -> int:
        """How many accepted jobs a failover has forgotten."""
        return len(self.losses.lost(self.events, self.dump))

    @property
    def again(self) -> int:
        """How many jobs ran again because a failover has forgotten their end."""
        return len(self.losses.again(self.events))

    def history(self) -> bytes:
        """Return the history, one JSON line per event."""
        return b"".join(msgspec.json.encode(event) + b"\n" for event in self.events)


class World:
    """Everything of one run."""

    def __init__(self, seed: int, plants: Mapping[str, Any]) -> None:
        """Draw the world of `seed`."""
        self.seed = seed
        self.random = Random(seed)
        self.mode = MODES[seed % len(MODES)]
        self.loop = SimulatedLoop(self.random)  # type: ignore[abstract] # as much as is used
        self.events: list[h.Event] = []
        self.server = Server(
            self.loop,
            self.random,
            self.record,
            make=plants.get("broker", MemoryBroker),
            keeps_writes=self.mode == "lossy",
        )
        self.server.referee.on_unheard = self._unheard
        self.host = Host(self.loop, self.server, make_app(self.record))
        self.host.runner_service = plants.get("runner", self.host.runner_service)
        config = settings()
        self.workers = [
            SimulatedWorker(self.host, f"host{number}", skew_ms, config, plants)
            for number, skew_ms in enumerate(_SKEWS_MS)
        ]
        self.nemesis = Nemesis(self.server, self.workers, self.random, self.record, self.mode)
        self.nemesis.on_fail_over = self._fail_over
        self.losses = Losses()
        self.stranded = 0

    def record(self, event: h.Event) -> None:
        """Append to the history, stamped with virtual time."""
        if self.loop.is_running():
            at_ns = int(self.loop.now_s * 1_000_000) * 1_000
            self.events.append(msgspec.structs.replace(event, at_ns=at_ns))

    def _unheard(self, pid: int) -> None:
        """Excuse what a lease covered whose extensions the network has lost."""
        for worker in self.workers:
            if worker.inside.pid == pid:
                self.nemesis.note("unheard", worker.pids)
                return
        self.nemesis.note("unheard", (pid,))

    async def main(self) -> None:
        """Let everything happen."""
        for worker in self.workers:
            worker.start()
        producing = asyncio.ensure_future(Producer(self.server, self.random, self.record).run())
        await self.nemesis.run(self.random.randint(3, 7))
        await producing
        self.server.weather.lost = self.server.weather.slow = 0.0
        if not await self._settles() and self.losses.touched:
            # What runs on for nobody, since its end was forgotten, is the next worker's.
            self.stranded = self._stranded()
            await self._drain()
            self.workers[0].start()
            await self._settles()
        await self._drain()

    async def _settles(self) -> bool:
        """Wait until nothing is left to do; return False where that was in vain."""
        loop = self.loop
        until_s, moved_s = loop.time() + PATIENCE_S, loop.time()
        while not self._has_settled():
            if not self._only_stranded():
                moved_s = loop.time()
            if loop.time() > until_s or loop.time() - moved_s > _STRANDED_S:
                return False
            await asyncio.sleep(0.25)
        return True

    def _only_stranded(self) -> bool:
        """Return whether all that is left are jobs that run for nobody since a failover."""
        if not self.losses.touched:
            return False
        alive = (one for one in self.loop.processes if not one.is_dead)
        running = {act.job for one in alive for act in one.at_death if isinstance(act, Act)}
        left = [job for job in self.server.store.jobs.values() if job.state not in FINAL]
        return all(
            job.state is State.RUNNING and job.id in self.losses.touched - running for job in left
        )

    def _stranded(self) -> int:
        jobs = self.server.store.jobs.values()
        return sum(job.state is State.RUNNING and job.id in self.losses.touched for job in jobs)

    def _fail_over(self) -> None:
        self.server.referee.has_forgotten = True
        before, copy = self.server.fail_over(self.random.choice((1, 3, 10, 30)))
        self.server.referee.revived(before, self.server.store)
        self.losses.failed_over(self.events, before, take_dump(copy), self.server.store)

    def _has_settled(self) -> bool:
        """Return whether every job is final, and nobody dead holds a lease."""
        store = self.server.store
        if any(job.state not in FINAL for job in store.jobs.values()):
            return False
        owners = [one.opened.owner.pid for one in store.leases.values() if not one.closed]
        return not any(self.host.is_dead(pid) for pid in owners)

    async def _drain(self) -> None:
        for worker in self.workers:
            if worker.inside.is_dead:
                continue
            self.nemesis.note("last_drain", worker.pids)
            worker.stopping.request("the end")
        until_s = self.loop.time() + PATIENCE_S
        while any(not one.inside.is_dead for one in self.workers):
            if self.loop.time() > until_s:
                return
            await asyncio.sleep(0.1)

    def leftovers(self) -> tuple[str, ...]:
        """Return what a drained world should not hold any more."""
        loop = self.loop
        alive = [one for one in loop.processes if not one.is_dead and one is not loop.world]
        return tuple(f"{one.kind} {one.pid} still lives" for one in alive)


def simulate(seed: int, plants: Mapping[str, Any] = _NO_PLANTS) -> Run:
    """Play the world of `seed`, with classes of the engine replaced by planted bugs."""
    crashes: list[str] = []
    with _chance(seed), _told_to(crashes), _no_collector():
        run = _play(World(seed, plants))
        run.crashes += crashes
        # What was killed is closed by whoever forgets it, and cannot do that well any more.
        gc.collect()
    return run


def _play(world: World) -> Run:
    world.loop.run(world.main())
    crews = [worker.crew for worker in world.workers if worker.crew is not None]
    failed = [f"{crew.failures} duties failed" for crew in crews if crew.failures]
    dump = take_dump(world.server.broker, leftovers=world.leftovers())
    overtaken = world.server.referee.overtaken
    leases = tuple(one for one in dump.leases if one.running or one.id not in overtaken)
    return Run(
        seed=world.seed,
        mode=world.mode,
        events=world.events,
        dump=msgspec.structs.replace(dump, leases=leases),
        crashes=[*world.loop.crashes, *failed, *world.server.referee.stale],
        faults=world.nemesis.done,
        losses=world.losses,
        stranded=world.stranded,
        turns=world.loop.turns,
        seconds=world.loop.now_s,
    )


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """Let the engine's jitter come from the seed; fences stay secret, and no history names one."""
    state = global_random.getstate()
    global_random.seed(seed)
    try:
        yield
    finally:
        global_random.setstate(state)


class _Told(logging.Handler):
    """Keeps what is logged with a traceback: the engine did not foresee it."""

    def __init__(self, crashes: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._crashes = crashes

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._crashes.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def _told_to(crashes: list[str]) -> Iterator[None]:
    log = logging.getLogger("penstock")
    before: tuple[int, bool, Sequence[logging.Handler]] = (log.level, log.propagate, log.handlers)
    log.handlers, log.propagate = [_Told(crashes)], False
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.handlers = list(before[2])
        log.propagate = before[1]
        log.setLevel(before[0])


@contextmanager
def _no_collector() -> Iterator[None]:
    """Let nothing of a killed process be tidied up before the world is over, nor heard after."""
    was_enabled, hook = gc.isenabled(), sys.unraisablehook
    gc.disable()
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook
        if was_enabled:
            gc.enable()
