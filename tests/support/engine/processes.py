"""Runners and children of the simulated world: the real services, and how they are born and die."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

import msgspec

from penstock import App
from penstock.core.manifest import AppManifest
from penstock.executors.main_thread import MainThreadExecutor
from penstock.executors.process import ExitStatus
from penstock.worker import wire
from penstock.worker.child.service import Service as ChildService
from penstock.worker.pipe import Pipe
from penstock.worker.runner.inbox import Inbox
from penstock.worker.runner.service import Service as RunnerService
from tests.support.engine.jobs import in_steps
from tests.support.engine.loop import Process, SimulatedLoop
from tests.support.engine.server import Server, SimulatedBroker, SimulatedClock

T = TypeVar("T")

#: Seconds that a message between two processes of a host takes.
_WIRE_S = 0.000_1
_SIGKILL = 9


class SimulatedChannel(Generic[T]):
    """The supervisor's end of the line to a runner or child; see `supervisor.channel.Channel`."""

    def __init__(self, kinds: object) -> None:
        """Take in the structs of the union `kinds`."""
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kinds)
        self._unheard: deque[T] = deque()
        self._is_over = False
        self._news = asyncio.Event()
        self.broken: str | None = None
        self.take_at_once: Callable[[T], bool] = lambda _message: False
        self.deliver: Callable[[bytes], None] = lambda _body: None

    def send(self, message: msgspec.Struct) -> None:
        """Send a message."""
        self.deliver(msgspec.json.encode(message))

    async def messages(self) -> AsyncIterator[T]:
        """Yield what arrives, until the other process is gone."""
        while True:
            while self._unheard:
                yield self._unheard.popleft()
            if self._is_over:
                return
            self._news.clear()
            await self._news.wait()

    def received(self, body: bytes) -> None:
        """Take in one message, in the supervisor's process."""
        self._unheard.append(self._decoder.decode(body))
        self._news.set()

    def ended(self) -> None:
        """Let `messages` end."""
        self._is_over = True
        self._news.set()

    def close(self) -> None:
        """Close this end; the other process has ended."""


class SimulatedPipe(Generic[T]):
    """The other end; see `worker.pipe.Pipe`."""

    def __init__(self, kinds: object, say: Callable[[bytes], None]) -> None:
        """Take in the structs of the union `kinds`, and `say` what is sent."""
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kinds)
        self._say = say
        self._take_in: Callable[[T], Any] | None = None
        self._early: list[T] = []

    def send(self, *messages: msgspec.Struct, optional: bool = False) -> None:
        """Send messages, in order; never waits."""
        del optional
        for message in messages:
            self._say(msgspec.json.encode(message))

    def flush(self) -> None:
        """Do nothing: what was sent is on its way."""

    def listen(self, take_in: Callable[[T], Any]) -> None:
        """Call `take_in` with each message, those that came before among them."""
        self._take_in = take_in
        early, self._early = self._early, []
        for message in early:
            take_in(message)

    def received(self, body: bytes) -> None:
        """Take in one message, in the process that it is for."""
        message = self._decoder.decode(body)
        if self._take_in is None:
            self._early.append(message)
        else:
            self._take_in(message)


class Born:
    """A process as its supervisor sees it; see `executors.process.Process`.

    Attributes:
        inside: what is killed.
        exited: done once the supervisor can know of its end.
    """

    started_ticks = 1

    def __init__(self, loop: SimulatedLoop, parent: Process, kind: str) -> None:
        """Be born."""
        self.inside = loop.process(kind)
        self.pid = self.inside.pid
        self.exited: asyncio.Future[ExitStatus] = loop.create_future()
        self._loop = loop
        self._parent = parent
        self.on_end: list[Callable[[], None]] = []
        self.on_kill: Callable[[int], None] = lambda _pid: None

    async def wait(self) -> ExitStatus:
        """Return how it ended."""
        await asyncio.wait([self.exited])
        return self.exited.result()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.on_kill(self.pid)
        self.end(ExitStatus(killed_by=_SIGKILL))

    def end(self, status: ExitStatus) -> None:
        """Be gone at once; the parent is told by and by."""
        if self.inside.is_dead:
            return
        self._loop.kill(self.inside)
        # What was said before travels on and arrives first.
        self._loop.post(self._parent, 2 * _WIRE_S, self._tell, status)

    def _tell(self, status: ExitStatus) -> None:
        for told in self.on_end:
            told()
        if not self.exited.done():
            self.exited.set_result(status)

    def send_signal(self, number: int) -> None:
        """Do nothing: signals for stacks are not simulated."""

    def bury(self) -> None:
        """Do nothing: there is no zombie."""


class Host:
    """What all processes of the simulated world run on.

    Attributes:
        app: of all workers.
        manifest: of it.
    """

    def __init__(self, loop: SimulatedLoop, server: Server, app: App) -> None:
        """Run `app` over `server`."""
        self.loop = loop
        self.server = server
        self.app = app
        self.manifest: AppManifest = app.manifest()
        self.runner_service: type[RunnerService] = RunnerService

    def is_dead(self, pid: int) -> bool:
        """Return whether no process of this number lives."""
        return all(one.pid != pid or one.is_dead for one in self.loop.processes)

    def runner(self, parent: Process) -> tuple[Born, SimulatedChannel[wire.FromRunner]]:
        """Start a runner."""
        born = Born(self.loop, parent, "runner")
        born.on_kill = self.server.referee.killed_by_engine
        channel, pipe = self._line(born, parent, wire.FromRunner, wire.ToRunner)
        self._begin(born, self._run_runner(born, pipe))
        return born, channel

    def child(self, parent: Process) -> tuple[Born, SimulatedChannel[wire.FromChild]]:
        """Start a child."""
        born = Born(self.loop, parent, "child")
        channel, pipe = self._line(born, parent, wire.FromChild, wire.ToChild)
        self._begin(born, self._run_child(born, pipe))
        return born, channel

    def _line(
        self, born: Born, parent: Process, up: Any, down: Any
    ) -> tuple[SimulatedChannel[Any], SimulatedPipe[Any]]:
        loop = self.loop
        channel: SimulatedChannel[Any] = SimulatedChannel(up)
        pipe: SimulatedPipe[Any] = SimulatedPipe(
            down, lambda body: loop.post(parent, _WIRE_S, channel.received, body)
        )
        channel.deliver = lambda body: loop.post(born.inside, _WIRE_S, pipe.received, body)
        born.on_end.append(channel.ended)
        return channel, pipe

    def _begin(self, born: Born, work: Coroutine[Any, Any, int]) -> None:
        async def live() -> None:
            # The interpreter starts and imports the app.
            await asyncio.sleep(self.server.random.uniform(0.02, 0.2))
            born.end(ExitStatus(code=await work))

        self.loop.start(born.inside, live())

    async def _run_runner(self, born: Born, pipe: SimulatedPipe[wire.ToRunner]) -> int:
        """As `runner.__main__` does."""
        typed = cast("Pipe[wire.ToRunner]", pipe)
        inbox = Inbox(typed)
        pipe.send(wire.Hello(born.pid, manifest=self.manifest))
        start = await inbox.started
        pipe.send(wire.Ready())
        broker = cast("Any", SimulatedBroker(self.server))
        clock = SimulatedClock(self.loop)
        service = self.runner_service(self.app, start, broker, typed, clock, call_plain=in_steps)
        beating = asyncio.ensure_future(_beat(service, pipe))
        inbox.deliver_to(service.take_in)
        is_settled = await service.run()
        beating.cancel()
        if is_settled:
            pipe.send(wire.Drained())
        return 0 if is_settled else 1

    async def _run_child(self, born: Born, pipe: SimulatedPipe[wire.ToChild]) -> int:
        """As `child.__main__` does."""
        main_thread = cast("MainThreadExecutor", _MainThread())
        pipe.send(wire.Hello(born.pid))
        service = _ChildService(self.app, cast("Pipe[wire.ToChild]", pipe), main_thread)
        service.retire = lambda: born.end(ExitStatus(code=0))
        return await service.run()


class _ChildService(ChildService):
    """A child that just ends where a real one ends all that is left in its loop."""

    retire: Callable[[], None]

    def _take_in(self, message: wire.ToChild) -> None:
        if isinstance(message, wire.Retire):
            self.retire()
        else:
            super()._take_in(message)


class _MainThread:
    """Calls plain functions beside the loop."""

    call = staticmethod(in_steps)


async def _beat(service: RunnerService, pipe: SimulatedPipe[Any]) -> None:
    while True:
        desk, running = service.desk, len(service.desk.running) + service.pump.unsettled
        pipe.send(wire.Beat(running, desk.settled, desk.failed, loop_lag_ms=0, claim_age_ms=0))
        await asyncio.sleep(wire.BEAT_MS / 1000)
