"""One simulated run from a seed: jobs in, faults, quiet, dump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.brokers.memory import MemoryBroker
from tests.support.dump import Dump, take_dump
from tests.support.history import Event
from tests.support.simulation.traffic import Nemesis, Producer
from tests.support.simulation.worker import SimWorker
from tests.support.simulation.world import Engine, VirtualClock, World

#: Virtual milliseconds during which faults are injected, and after which a run is given up.
FAULTS_MS = 15_000
RUN_MS = 90_000
#: How far the clock of each worker is off the broker's; the broker's alone may matter.
SKEWS_MS = (-1_500, 0, 1_500)


@dataclass(frozen=True)
class Run:
    """What one seed gave: the input of the checker."""

    seed: int
    events: list[Event]
    dump: Dump


def simulate(
    seed: int,
    *,
    make_engine: Callable[[MemoryBroker], Engine] = Engine,
    make_worker: type[SimWorker] = SimWorker,
) -> Run:
    """Play the world of `seed` around a memory broker and return its history and dump."""
    clock = VirtualClock()
    broker = MemoryBroker(clock)
    world = World(seed, clock, make_engine(broker))
    faults_end_ms = clock.now_ms + FAULTS_MS
    workers = [make_worker(world, f"w{index}", skew) for index, skew in enumerate(SKEWS_MS)]
    for worker in workers:
        worker.start()
    producer = Producer(world)
    world.spawn(producer.process, producer.steps())
    nemesis = Nemesis(world, workers, until_ms=faults_end_ms)
    world.spawn(nemesis.process, nemesis.steps())

    def is_quiet() -> bool:
        if not producer.is_done or clock.now_ms < faults_end_ms:
            return False
        waiting = ("blocked", "scheduled", "queued", "running", "retrying")
        return not any(getattr(one, state) for one in broker.counts() for state in waiting)

    world.run(is_quiet, until_ms=clock.now_ms + RUN_MS)
    _drain(world, workers, broker)
    return Run(seed, world.events, take_dump(broker, leftovers=()))


def _drain(world: World, workers: list[SimWorker], broker: MemoryBroker) -> None:
    """Let the last settlements be answered, then close all leases as a drained worker does."""
    world.run(lambda: False, until_ms=world.clock.now_ms + 200)
    for worker in workers:
        worker.supervisor.is_dead = worker.runner.is_dead = True
    broker.close_leases([lease.id for lease in broker.leases()])
