"""What is done to the simulated world: kills, stops, drains, outages, restarts, bad weather.

A fault names the processes whose attempts it may cost. One that must cost nothing names none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from tests.support import history as h
from tests.support.engine.loop import Process
from tests.support.engine.processes import Born
from tests.support.engine.server import TAKES, Server
from tests.support.engine.worker import LEASE_MS, SimulatedWorker

#: Seconds of a lease.
_LEASE_S = LEASE_MS / 1000
#: Seconds of a stop after which nothing may be lost: well under a lease, a grace and a beat.
_SHORT_STOP_S = 0.3
#: How often an outage begins just when jobs were taken, and the seconds to wait for that.
_AT_TAKE = 0.6
_TAKE_S = 1.5
#: How often the broker goes away as the jobs of a killed process are taken over.
_AT_TAKEOVER = 0.3

Act = Callable[[], Coroutine[Any, Any, None]]


class Nemesis:
    """Harms, one fault after the other.

    Attributes:
        done: faults so far, by kind.
        on_fail_over: lets the broker forget.
    """

    def __init__(
        self, server: Server, workers: Sequence[SimulatedWorker], random: Random,
        record: Callable[[h.Event], None], mode: str,
    ) -> None:  # fmt: skip
        """Harm `workers` and `server` as `mode` allows: one of `run.MODES`."""
        self._server = server
        self._workers = workers
        self._random = random
        self._record = record
        self.done: Counter[str] = Counter()
        network: list[Act] = [self._outage, self._restart_broker, self._storm, self._set_clock]
        processes: list[Act] = [
            self._kill_worker, self._kill_one, self._kill_one, self._stop_worker,
            self._stop_supervisor, self._stop_one, self._drain,
        ]  # fmt: skip
        self.on_fail_over: Callable[[], None] = lambda: None
        self._acts = {
            "lossy": [*network, *processes, *(self._fail_over,) * 5],
            "network": [*network, self._stop_shortly],
            "processes": processes,
            "all": [*network, *processes],
        }[mode]

    async def run(self, faults: int) -> None:
        """Inject so many faults."""
        for _ in range(faults):
            await asyncio.sleep(self._random.uniform(0.1, 1.5))
            await self._random.choice(self._acts)()

    def note(self, kind: str, pids: tuple[int, ...] = ()) -> None:
        """Write a fault down, just before it is injected."""
        self.done[kind] += 1
        self._record(h.Fault(kind=kind, pids=pids))

    def _worker(self) -> SimulatedWorker:
        return self._random.choice(self._workers)

    async def _kill_worker(self) -> None:
        worker = self._worker()
        self.note("kill_worker", worker.pids)
        worker.kill()
        await asyncio.sleep(self._random.choice((0.05, 0.5, 1.5 * _LEASE_S)))
        worker.start()

    async def _kill_one(self) -> None:
        """Kill a runner or a child under its living supervisor."""
        family = self._worker().family
        if family:
            one = self._random.choice(family)
            self.note(f"kill_{one.inside.kind}", (one.pid,))
            one.kill()
            if self._random.random() < _AT_TAKEOVER:
                await self._cut_at(frozenset({"reclaim"}))
                await asyncio.sleep(0.2)
                self._server.weather.is_down = False

    async def _stop_worker(self) -> None:
        worker = self._worker()
        self.note("stop_worker", worker.pids)
        processes = [worker.inside, *(one.inside for one in worker.family)]
        await self._hold(processes, self._random.choice((1.0, 2.5 * _LEASE_S)))

    async def _stop_supervisor(self) -> None:
        worker = self._worker()
        self.note("stop_supervisor", worker.pids)
        await self._hold([worker.inside], self._random.choice((1.0, 2.5 * _LEASE_S)))

    async def _stop_one(self) -> None:
        family = self._worker().family
        if family:
            one = self._random.choice(family)
            # Its jobs may be cancelled meanwhile, and it be killed for not hearing of it.
            self.note(f"stop_{one.inside.kind}", (one.pid,))
            await self._hold([one.inside], self._random.choice((1.0, 2.5 * _LEASE_S)))

    async def _stop_shortly(self) -> None:
        worker = self._worker()
        family: list[Born] = worker.family
        self.note("stop_shortly")
        process = self._random.choice([worker.inside, *(one.inside for one in family)])
        await self._hold([process], self._random.uniform(0.0, _SHORT_STOP_S))

    async def _hold(self, processes: Sequence[Process], seconds: float) -> None:
        loop = self._server.loop
        for one in processes:
            loop.stop_process(one)
        await asyncio.sleep(seconds)
        for one in processes:
            loop.resume(one)

    async def _drain(self) -> None:
        worker = self._worker()
        if worker.inside.is_dead or worker.stopping is None:
            return
        self.note("drain", worker.pids)
        worker.stopping.request("simulated SIGTERM")
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.uniform(0.0, 1.0))
            worker.stopping.request("simulated SIGTERM")
        await worker.inside.died.wait()
        worker.start()

    async def _outage(self) -> None:
        # No pids: an outage excuses no lost attempt, since live workers can extend first.
        self.note("outage")
        await self._cut()
        await asyncio.sleep(self._random.choice((0.05, 0.5, 0.6 * _LEASE_S, 2 * _LEASE_S)))
        self._server.weather.is_down = False

    async def _cut(self) -> None:
        """Cut the broker off: half the time just when it has given jobs away."""
        if self._random.random() < _AT_TAKE:
            await self._cut_at(TAKES)
        if not self._server.weather.is_down:
            self._server.cut()

    async def _cut_at(self, verbs: frozenset[str]) -> None:
        self._server.fails_at = verbs
        await asyncio.sleep(_TAKE_S)
        self._server.fails_at = frozenset()

    async def _restart_broker(self) -> None:
        self.note("restart_broker")
        await self._cut()
        await asyncio.sleep(self._random.choice((0.05, 0.5, 1.5 * _LEASE_S)))
        self._server.clock.reboot()
        self._server.weather.is_down = False

    async def _fail_over(self) -> None:
        self.note("fail_over")
        self._server.cut()
        await asyncio.sleep(self._random.choice((0.05, 0.5, 1.0)))
        self.on_fail_over()
        self._server.weather.is_down = False

    async def _storm(self) -> None:
        self.note("storm")
        weather = self._server.weather
        calm = weather.lost, weather.slow
        weather.lost, weather.slow = 0.1, self._random.choice((0.1, 0.4))
        await asyncio.sleep(self._random.uniform(0.5, 3.0))
        weather.lost, weather.slow = calm

    async def _set_clock(self) -> None:
        self.note("set_clock")
        self._server.clock.skew_ms += self._random.choice((-2_000, -300, 300, 2_000))
