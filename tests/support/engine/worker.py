"""A worker of the simulated world: the real duties of a supervisor, over simulated processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, cast

import msgspec

from penstock.broker.requests import BrokerFacts, Owner
from penstock.config.resolve import load
from penstock.config.settings import Settings
from penstock.errors import PenstockError
from penstock.executors.family import Family
from penstock.executors.memory_group import MemoryGroup
from penstock.executors.process import Spawner
from penstock.executors.procfs import Holdings, ProcStat
from penstock.serializers.sealing import Seal
from penstock.worker.pulse import Bell, attach
from penstock.worker.supervisor.budget import Budget
from penstock.worker.supervisor.cancels import Cancels
from penstock.worker.supervisor.channel import Channel
from penstock.worker.supervisor.child_kinds import PLAIN, ChildKind
from penstock.worker.supervisor.child_pool import ChildPool, OnBorn, ignore_born
from penstock.worker.supervisor.child_process import ChildProcess
from penstock.worker.supervisor.children import Children
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.drain import Drain
from penstock.worker.supervisor.eviction import Evictions
from penstock.worker.supervisor.identity import Identity
from penstock.worker.supervisor.leases import Leases
from penstock.worker.supervisor.limits import Limits
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.maintenance import Maintenance
from penstock.worker.supervisor.parts import Parts
from penstock.worker.supervisor.plan import WorkerPlan, retention
from penstock.worker.supervisor.pressure import Pressure
from penstock.worker.supervisor.profiles import Profiles
from penstock.worker.supervisor.reclaim import Reclaim
from penstock.worker.supervisor.runner_process import RunnerProcess
from penstock.worker.supervisor.runners import Runners
from penstock.worker.supervisor.settling import Settler
from penstock.worker.supervisor.slots import Slots
from penstock.worker.supervisor.stopping import Stopping
from penstock.worker.supervisor.task_facts import Tasks
from penstock.worker.wire import Prepare
from tests.support.engine.jobs import QUEUE
from tests.support.engine.loop import Process
from tests.support.engine.processes import Born, Host
from tests.support.engine.server import SimulatedBroker, SimulatedClock

#: Milliseconds: the lease of the simulated workers, and the pace that goes with it.
LEASE_MS = 3_000
_PACE: Mapping[str, Any] = {
    "url": "memory://", "queues": (QUEUE,), "lease_ttl_ms": LEASE_MS, "lease_extend_ms": 1_000,
    "reclaim_interval_ms": 700, "poll_ms": 2_000, "processes": 1, "concurrency": 2,
    "coroutines": 4, "drain_grace_ms": 1_000, "kill_grace_ms": 1_000,
}  # fmt: skip


@cache
def settings() -> Settings:
    """Return the settings of the simulated workers."""
    read = load(flags={"url": "memory://"}, environ={}).settings
    return msgspec.structs.replace(read, **_PACE)


class SimulatedIdentity(Identity, frozen=True):
    """A worker's identity, where the living are known by the simulation."""

    living: Callable[[int], bool]

    def owner(self, pid: int) -> Owner:
        """Return the owner that a process of this worker is."""
        return Owner(self.worker, self.host, self.boot_id, self.pid_namespace, pid, 1)

    def is_dead(self, owner: Owner) -> bool:
        """Tell whether `owner` is known to be dead: only of the same host."""
        return owner.host == self.host and not self.living(owner.pid)


class SimulatedRunners(Runners):
    """The runners of a worker, born without the system."""

    host: Host
    mother: Process

    async def start(self) -> RunnerProcess | None:
        """Start one more runner now."""
        born, channel = self.host.runner(self.mother)
        runner = RunnerProcess(cast("Any", born), cast("Channel[Any]", channel), -1, self)
        self.adopt(runner)
        return runner


class NoFamily(Family):
    """The family of a process that starts nothing."""

    def __init__(self) -> None:
        """Watch no process."""

    def keep(self, group: MemoryGroup | None) -> None:
        """Keep nothing."""
        del group

    def left_behind(self, group: MemoryGroup | None) -> list[ProcStat]:
        """Find nothing."""
        del group
        return []


class SimulatedChild(ChildProcess):
    """A child that leaves no family behind."""

    async def prepare(self, order: Prepare, *, max_ms: int) -> None:
        """Let it begin; it holds nothing."""
        await super().prepare(order, max_ms=max_ms)
        self.at_start = Holdings(0, 0)

    async def destroy(self) -> None:
        """Kill it, and forget it."""
        self._on_over = None
        if self._ending is not None:
            self._ending.cancel()
        self.process.kill()
        await asyncio.wait([self.process.exited])
        self._listening.cancel()
        self._mourning.cancel()

    async def _end(self, grace_ms: int) -> None:
        del grace_ms
        self.process.kill()


class SimulatedPool(ChildPool):
    """The children of a worker, born without the system."""

    host: Host
    mother: Process

    async def make(self, kind: ChildKind = PLAIN, on_born: OnBorn = ignore_born) -> ChildProcess:
        """Start a child and let it begin."""
        born, channel = self.host.child(self.mother)
        child = SimulatedChild(cast("Any", born), cast("Channel[Any]", channel), -1, NoFamily())
        self.all.append(child)
        self.kinds.made(child, kind)
        try:
            on_born(child)
            order = Prepare(self._parts.identity.worker, 1_000_000, self.tags)
            await child.prepare(order, max_ms=self._parts.settings.child_start_max_ms)
        except BaseException:
            await self.bury(child)
            raise
        return child

    def _is_used_up(self, child: ChildProcess) -> bool:
        return child.jobs >= self._parts.settings.child_jobs_max


class SimulatedWorker:
    """One worker; `start` begins a new incarnation.

    Attributes:
        inside: the supervisor's process.
        stopping: of this incarnation.
        makes: the classes of the duties that a planted bug replaces, by name.
    """

    def __init__(
        self, host: Host, name: str, skew_ms: int, config: Settings, makes: Mapping[str, Any]
    ) -> None:
        """Name it; nothing runs yet."""
        self.host = host
        self.name = name
        self.skew_ms = skew_ms
        self.config = config
        self.makes = makes
        self.starts = 0
        self.inside = host.loop.process("supervisor")
        host.loop.kill(self.inside)
        self.runners: Runners | None = None
        self.pool: ChildPool | None = None
        self.crew: Crew | None = None
        self.stopping = Stopping()

    def start(self) -> None:
        """Start a supervisor, which starts runners."""
        self.starts += 1
        self.inside = self.host.loop.process("supervisor")
        self.runners = self.pool = self.crew = None
        self.stopping = Stopping()
        self.host.loop.start(self.inside, self._serve())

    @property
    def family(self) -> list[Born]:
        """The processes of this incarnation that its supervisor started and that live."""
        runners = [] if self.runners is None else [one.process for one in self.runners.all]
        children = [] if self.pool is None else [one.process for one in self.pool.all]
        born = [cast("Born", one) for one in (*runners, *children)]
        return [one for one in born if not one.inside.is_dead]

    @property
    def pids(self) -> tuple[int, ...]:
        """All its living processes, for fault events."""
        return (self.inside.pid, *(one.pid for one in self.family))

    def kill(self) -> None:
        """Kill the supervisor; the kernel kills what is tied to it."""
        for one in self.family:
            one.kill()
        self.host.loop.kill(self.inside)

    async def _serve(self) -> None:
        """As `Supervisor._serve` does, from the open broker to the closed leases."""
        stopping = self.stopping
        clock = SimulatedClock(self.host.loop, self.skew_ms)
        link = BrokerLink(cast("Any", SimulatedBroker(self.host.server)), clock)
        facts = await link.insist(link.broker.describe, what="asking what the broker is")
        cancels = await link.insist(link.broker.listen, what="listening for cancels")
        jobs = await link.insist(link.broker.listen, what="listening for jobs")
        link.reminder.watch((cancels, jobs), facts.durability)
        parts = self._parts(link, facts, stopping, cancels.token)
        async with asyncio.TaskGroup() as group:
            self.crew = crew = Crew(group)
            runners, pool = SimulatedRunners(parts, crew), SimulatedPool(parts, crew, Bell())
            pool._bell = runners.yielded_bell
            runners.host = pool.host = self.host
            runners.mother = pool.mother = self.inside
            self.runners, self.pool = runners, pool
            make: type[Children] = self.makes.get("children", Children)
            children = make(parts, runners, pool, crew, wake_token=jobs.token)
            await parts.leases.open_own(parts.identity.owner(self.inside.pid), children)
            detach = attach(cancels, parts.leases.bell), attach(jobs, children.bell)
            self._start_duties(parts, runners, pool, children, crew)
            await stopping.drain.wait()
            await Drain(parts, runners, children).run()
            crew.dismiss()
            for undo in detach:
                undo()
        await pool.destroy()
        await _close(parts)
        self.host.loop.kill(self.inside)

    def _parts(
        self, link: BrokerLink, facts: BrokerFacts, stopping: Stopping, cancel_token: str
    ) -> Parts:
        config, tasks = self.config, Tasks()
        tasks.learn(self.host.manifest)
        identity = SimulatedIdentity(
            f"{self.name}@{self.inside.pid}", self.name, "boot", 1, self._lives
        )
        settler = self.makes.get("settler", Settler)(link, tasks)
        leases = self.makes.get("leases", Leases)(
            link, queues=config.queues, ttl_ms=config.lease_ttl_ms,
            extend_ms=config.lease_extend_ms, cancels=Cancels(config.kill_grace_ms),
            wake_token=cancel_token,
        )  # fmt: skip
        reclaim = self.makes.get("reclaim", Reclaim)(
            link, settler, tasks=tasks, identity=identity, queues=config.queues, leases=leases,
            lease_ttl_ms=config.lease_ttl_ms, interval_ms=config.reclaim_interval_ms,
        )  # fmt: skip
        profiles = Profiles(link, tasks)
        return Parts(
            plan=WorkerPlan(app="simulated:app"), settings=config, environ={}, identity=identity,
            spawner=Spawner(), stopping=stopping, link=link, broker=facts, tasks=tasks,
            settler=settler, leases=leases, reclaim=reclaim, slots=Slots(config.concurrency),
            budget=Budget(config.memory, tasks, profiles), pressure=Pressure(0), profiles=profiles,
            seal=Seal(config.secret_keys),
        )  # fmt: skip

    def _start_duties(
        self, parts: Parts, runners: Runners, pool: ChildPool, children: Children, crew: Crew
    ) -> None:
        limits = Limits(
            runners, Evictions(runners, crew), parts.link.clock,
            kill_grace_ms=parts.settings.kill_grace_ms,
        )  # fmt: skip
        rules = retention(parts.settings)
        duties = {
            "leases": parts.leases.run,
            "reclaim": parts.reclaim.run,
            "runners": runners.run,
            "limits": limits.run,
            "exclusive jobs": children.cut_off.run,
            "claims for children": children.run,
            "idle children": pool.run,
            "maintenance": Maintenance(parts.link, parts.settings.queues, rules).run,
        }
        for name, run in duties.items():
            crew.keep(name, run)

    def _lives(self, pid: int) -> bool:
        return not self.host.is_dead(pid)


async def _close(parts: Parts) -> None:
    leases = parts.leases.forget_all()
    with contextlib.suppress(PenstockError, TimeoutError):
        async with asyncio.timeout(0.5):
            close = partial(parts.link.broker.close_leases, leases)
            await parts.link.insist(close, what="closing the leases")
