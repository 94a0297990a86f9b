"""The runners of a worker: kept alive, introduced to the broker, and, once dead, accounted for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from penstock.core.ids import AttemptKey
from penstock.core.pace import Kind
from penstock.executors.process import ExitStatus
from penstock.worker import queue_room
from penstock.worker.pulse import Bell, backoff_ms, first_of
from penstock.worker.wire import Hello, Kinds, Quiet, Slots, Start

from .aftermath import account_for
from .crew import Crew
from .environment import runner_environment
from .parts import Parts
from .runner_process import End, Phase, RunnerProcess

_log = logging.getLogger("penstock.worker")

#: Seconds that a runner must have lived for its end to count as the first failure of a row.
_HEALTHY_S: Final = 10.0


class Runners:
    """Keeps `processes` runners serving, and passes on what they say.

    Attributes:
        all: every runner that is not accounted for yet, oldest first.
        bell: rung when a runner was started, has changed or has ended; the keeper sleeps on it.
        yielded_bell: rung when a runner gave a slot back.
        ended_bell: rung when a runner is accounted for.
        keeps: whether ended runners are started again.
        restarts: runners started in the place of one that failed.
        settled: attempts settled by runners that have ended.
        on_ready: told whenever a runner takes work.
        on_watch: told the boot time by which an attempt has to end.
        on_overran: told of attempts that ignored their cancel.
    """

    def __init__(self, parts: Parts, crew: Crew) -> None:
        """Attend to runners in tasks of `crew`."""
        self._parts = parts
        self._crew = crew
        self._failures = 0
        self._not_before_s = 0.0
        self.all: list[RunnerProcess] = []
        self.bell = Bell()
        self.yielded_bell = Bell()
        self.ended_bell = Bell()
        self.keeps = True
        self.restarts = 0
        self.settled = 0
        self._told_kinds: dict[str, Kind] = {}
        self.on_ready: Callable[[], None] = _ignore_ready
        self.on_watch: Callable[[int], None] = _ignore_watch
        self.on_overran: Callable[[RunnerProcess, tuple[AttemptKey, ...]], None] = _ignore_overran

    async def run(self) -> None:
        """Start a runner whenever one is missing, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            serving = sum(runner.is_serving for runner in self.all)
            wait_s = self._not_before_s - loop.time()
            if self.is_wanted and serving < self._parts.settings.processes and wait_s <= 0:
                await self.start()
                continue
            await self.bell.sleep(wait_s if wait_s > 0 else None)

    @property
    def is_wanted(self) -> bool:
        """Whether runners are started: not in a draining worker, nor at the end of a burst."""
        return self.keeps and not self._parts.stopping.drain.is_set()

    async def start(self) -> RunnerProcess | None:
        """Start one more runner now; None if the system refused, which is tried again later."""
        env = runner_environment(self._parts.environ, self._parts.settings)
        try:
            runner = await RunnerProcess.spawn(self._parts.spawner, self._parts.plan.app, env, self)
        except OSError as error:
            _log.error("a runner could not be started: %s", error)
            self._back_off(lived_s=0.0)
            return None
        self.adopt(runner)
        return runner

    def adopt(self, runner: RunnerProcess) -> None:
        """Attend to a runner that was spawned."""
        runner.attendant = self
        self.all.append(runner)
        if self._parts.stopping.drain.is_set():
            # Race: the drain began while it was being spawned, and has told all others.
            runner.kill(End.STOPPED)
        self._crew.send(f"attending runner {runner.pid}", self._attend(runner))

    async def retire(self, runner: RunnerProcess, grace_ms: int, end: End) -> None:
        """Drain a runner and return once it has ended; kill it for `end` if it does not."""
        runner.drain(grace_ms)
        leave_ms = grace_ms + self._parts.settings.kill_grace_ms
        await asyncio.wait([runner.process.exited], timeout=leave_ms / 1000)
        if not runner.process.exited.done():
            _log.warning("runner %d did not end in time and is killed", runner.pid)
            runner.kill(end)
            await runner.process.wait()

    def set_quiet(self, *, on: bool) -> None:
        """Tell all runners to claim nothing, or to go on."""
        for runner in self.all:
            if runner.phase in (Phase.STARTING, Phase.RUNNING):
                runner.send(Quiet(on=on))

    def want_children(self, children: int) -> None:
        """Ask runners for the slots that `children` children need."""
        self._tell_slots(self._parts.slots.want(children))

    def changed(self, runner: RunnerProcess) -> None:
        """Look whether a runner is missing."""
        if runner.phase is Phase.RUNNING:
            _log.info("runner %d is ready", runner.pid)
            self.on_ready()
        self.bell.ring()

    def watching(self, hard_boot_ms: int) -> None:
        """Pass on that an attempt has a hard limit."""
        self.on_watch(hard_boot_ms)

    def yielded(self, runner: RunnerProcess, threads: int) -> None:
        """Note that a runner has given slots back."""
        self._parts.slots.yielded(runner, threads)
        self.yielded_bell.ring()

    def paced(self, runs: Mapping[str, Mapping[str, float]]) -> None:
        """Take in what runs of plain tasks took."""
        for task, sums in runs.items():
            self._parts.profiles.paced(task, sums)

    def tell_kinds(self) -> None:
        """Tell runners what plain tasks are like, where that has changed."""
        kinds = self._kinds()
        if kinds != self._told_kinds:
            self._told_kinds = kinds
            for runner in self.all:
                if runner.phase in (Phase.STARTING, Phase.RUNNING):
                    runner.send(Kinds(kinds))

    def _kinds(self) -> dict[str, Kind]:
        settings = self._parts.settings
        return self._parts.profiles.kinds(
            light_ms=settings.light_runtime_max_ms, light_bytes=settings.light_memory_max
        )

    def overran(self, runner: RunnerProcess, jobs: tuple[AttemptKey, ...]) -> None:
        """Pass on that attempts ignored their cancel."""
        self.on_overran(runner, jobs)

    async def _attend(self, runner: RunnerProcess) -> None:
        began_s = asyncio.get_running_loop().time()
        self.bell.ring()
        await first_of(runner.hello, runner.process.exited)
        if runner.hello.done() and not runner.hello.cancelled():
            await self._introduce(runner, runner.hello.result())
        status = await runner.lived
        lived_s = asyncio.get_running_loop().time() - began_s
        self._parts.slots.leave(runner)
        self._tell_slots(self._parts.slots.rebalance())
        if runner.end in (End.CRASHED, End.STALLED):
            self._back_off(lived_s)
        if runner.is_drained and self._parts.plan.burst:
            self.keeps = False
        _tell_end(runner, status, lived_s)
        self.bell.ring()
        try:
            await account_for(runner, status, self._parts)
        finally:
            self.settled += 0 if runner.beat is None else runner.beat.settled
            self.all.remove(runner)
            self.bell.ring()
            self.ended_bell.ring()

    async def _introduce(self, runner: RunnerProcess, hello: Hello) -> None:
        """Give a runner that has imported the app a lease, and let it begin."""
        if hello.error is not None or hello.manifest is None:
            text = "" if hello.error is None else hello.error.message
            _log.error("runner %d could not import %s: %s", runner.pid, self._parts.plan.app, text)
            runner.kill(End.CRASHED)
            return
        if runner.phase is not Phase.BOOTING:
            return
        self._parts.tasks.learn(hello.manifest)
        # What is known of an earlier process of this number says nothing about this one.
        self._parts.reclaim.born(runner.pid)
        owner = self._parts.identity.owner(runner.pid)
        lease = await self._parts.leases.open(owner, runner)
        # Race: it may have died or been told to drain while the broker was asked.
        if self._parts.stopping.drain.is_set():
            runner.kill(End.STOPPED)
        if runner.phase is not Phase.BOOTING:
            return
        runner.lease = lease
        runner.phase = Phase.STARTING
        threads = self._parts.slots.join(runner)
        runner.send(self._start_order(runner, threads))
        self._tell_slots(self._parts.slots.rebalance())
        if self._parts.stopping.is_quiet:
            runner.send(Quiet(on=True))

    def _start_order(self, runner: RunnerProcess, threads: int) -> Start:
        settings = self._parts.settings
        if runner.lease is None:
            raise RuntimeError(f"runner {runner.pid} has no lease yet")
        return Start(
            worker=self._parts.identity.worker,
            url=settings.url,
            lease=runner.lease,
            queues=settings.queues,
            coroutines=settings.coroutines,
            threads=threads,
            drain_grace_ms=settings.drain_grace_ms,
            poll_ms=settings.poll_ms,
            result_bytes_max=settings.result_bytes_max,
            durability=self._parts.broker.durability,
            queue_limits=queue_room.shares(self._parts.tasks.queue_limits, settings.processes),
            burst=self._parts.plan.burst,
            timeout_ms=settings.timeout_ms,
            soft_timeout_ms=settings.soft_timeout_ms,
            light=-(-settings.light_slots // settings.processes),
            light_runtime_max_ms=settings.light_runtime_max_ms,
            kinds=self._kinds(),
        )

    def _tell_slots(self, grants: list[tuple[RunnerProcess, int]]) -> None:
        for runner, threads in grants:
            runner.send(Slots(threads))
        if grants:
            self.yielded_bell.ring()

    def _back_off(self, lived_s: float) -> None:
        self._failures = 1 if lived_s >= _HEALTHY_S else self._failures + 1
        self.restarts += 1
        wait_s = backoff_ms(self._failures) / 1000
        self._not_before_s = asyncio.get_running_loop().time() + wait_s


def _tell_end(runner: RunnerProcess, status: ExitStatus, lived_s: float) -> None:
    hello = runner.hello
    is_refused = hello.done() and not hello.cancelled() and hello.result().error is not None
    # Why a refused one was killed is told already, and it was the supervisor that did it.
    if runner.end is End.STOPPED or is_refused:
        _log.info("runner %d has ended", runner.pid)
        return
    _log.error("runner %d %s after %.1f s (%s)", runner.pid, status, lived_s, runner.end)


def _ignore_ready() -> None:
    """Nobody waits for it yet."""


def _ignore_watch(_hard_boot_ms: int) -> None:
    """Nobody keeps limits yet."""


def _ignore_overran(_runner: RunnerProcess, _jobs: tuple[AttemptKey, ...]) -> None:
    """Nobody evicts yet."""
