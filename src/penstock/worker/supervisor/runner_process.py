"""One runner: a process that runs user code, as the supervisor sees it. No broker calls here."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Final

from penstock.core.ids import AttemptKey, JobId, LeaseId
from penstock.core.outcome import Outcome
from penstock.executors.process import ExitStatus, Process, Spawner
from penstock.worker.pulse import Bell
from penstock.worker.wire import (
    CHANNEL_FD_ENV,
    STACK_FD_ENV,
    Beat,
    CancelJobs,
    Drain,
    Drained,
    Extended,
    FromRunner,
    Hello,
    Paced,
    Ready,
    ReleaseNow,
    Renew,
    ToRunner,
    Unwatch,
    Watch,
    Yielded,
)

from .attendant import Attendant
from .channel import Channel, kill_if_deaf, open_lines
from .stack_file import StackFile

_log = logging.getLogger("penstock.worker")

#: Module that a runner runs; its argument is the app.
RUNNER_MODULE: Final = "penstock.worker.runner"
#: Seconds that a runner may go on after the end of its channel: its exit handlers take up to two.
_LEAVE_S: Final = 3.0
#: Seconds to read what a dead process said last.
_LAST_WORDS_S: Final = 0.5


class Phase(StrEnum):
    """What a runner is doing, as far as its supervisor knows."""

    BOOTING = "booting"
    """It imports the app."""
    STARTING = "starting"
    """It runs the start hooks."""
    RUNNING = "running"
    DRAINING = "draining"
    """It claims nothing any more."""
    ENDED = "ended"


class End(StrEnum):
    """Why a runner's process ended, which decides what its jobs are charged."""

    CRASHED = "crashed"
    """By itself, in the middle of its work: its jobs are suspects."""
    STALLED = "stalled"
    """Killed because it stood still: its jobs are suspects."""
    EVICTED = "evicted"
    """Killed for one culprit; its neighbours are charged nothing."""
    STOPPED = "stopped"
    """The worker stops, or the runner was drained."""


class RunnerProcess:
    """A runner from its spawn to its burial.

    Attributes:
        process: the process itself.
        phase: what it is doing.
        hello: its first word, done once it has imported the app or failed to.
        lease: under which it claims; None before Start.
        end: why it was killed or has ended, once that is known.
        culprits: attempts that it is killed for, with the outcome that each gets.
        beat: the last beat; None before the first.
        silent_ms: how long there was no beat, counted while the supervisor itself was awake.
        watched: attempts with a hard limit -> the limit in boot time.
        is_drained: it said that all its attempts are settled or released.
        news: rung whenever it says something, and at its end.
        lived: done with how it ended, once all that it said has been taken in.
    """

    def __init__(
        self,
        process: Process,
        channel: Channel[FromRunner],
        stack_fd: int,
        attendant: Attendant,
    ) -> None:
        """Speak to a process that was just spawned."""
        self.process = process
        self.attendant = attendant
        self._channel = channel
        self._stacks = StackFile(stack_fd)
        self.phase = Phase.BOOTING
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.lease: LeaseId | None = None
        self.end: End | None = None
        self.culprits: dict[AttemptKey, Outcome] = {}
        self.beat: Beat | None = None
        self.silent_ms = 0
        self.watched: dict[AttemptKey, int] = {}
        self.is_drained = False
        self.news = Bell()
        self.lived = asyncio.create_task(self._live(), name=f"runner {process.pid}")

    @classmethod
    async def spawn(
        cls, spawner: Spawner, app: str, env: Mapping[str, str], attendant: Attendant
    ) -> RunnerProcess:
        """Start a runner for `app`, "module:attribute".

        Raises:
            OSError: the system refused; nothing was started.
        """
        channel: Channel[FromRunner]
        channel, theirs, stack_fd = await open_lines(
            FromRunner, f"penstock-stack-{secrets.token_hex(4)}"
        )
        try:
            fds = {CHANNEL_FD_ENV: theirs.fileno(), STACK_FD_ENV: stack_fd}
            named = {name: str(fd) for name, fd in fds.items()}
            process = spawner.spawn(
                RUNNER_MODULE, app, env={**env, **named}, fds=tuple(fds.values())
            )
        except BaseException:
            channel.close()
            os.close(stack_fd)
            raise
        finally:
            theirs.close()
        return cls(process, channel, stack_fd, attendant)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    @property
    def is_serving(self) -> bool:
        """Whether it counts as one of the worker's runners: it claims, or is about to."""
        return self.phase in (Phase.BOOTING, Phase.STARTING, Phase.RUNNING)

    @property
    def owes_nothing(self) -> bool:
        """Whether it has ended and left nothing to settle: it said so, or never had a lease."""
        is_clean = self.is_drained or self.lease is None
        return self.phase is Phase.ENDED and is_clean and not self.culprits

    @property
    def running(self) -> int:
        """Attempts under way, by its last beat."""
        return 0 if self.beat is None else self.beat.running

    def send(self, message: ToRunner) -> None:
        """Tell it something; nothing happens if it is gone."""
        self._channel.send(message)

    def drain(self, grace_ms: int, except_job: JobId | None = None) -> None:
        """Let it finish what it runs and end; it takes no new work from now on."""
        if self.phase in (Phase.STARTING, Phase.RUNNING):
            self.phase = Phase.DRAINING
            self.send(Drain(grace_ms, except_job))
        elif self.phase is Phase.BOOTING:
            # It has no lease yet, so there is nothing to lose.
            self.kill(End.STOPPED)

    def release(self) -> None:
        """Let it release everything now and end."""
        if self.phase is Phase.BOOTING:
            self.kill(End.STOPPED)
        elif self.phase is not Phase.ENDED:
            self.phase = Phase.DRAINING
            self.send(ReleaseNow())

    def kill(self, end: End) -> None:
        """Kill it and its group; the first reason given stands."""
        self.end = self.end or end
        self.phase = Phase.ENDED if self.process.exited.done() else Phase.DRAINING
        self.process.kill()

    def renewed(self, lease: LeaseId, lost: LeaseId) -> None:
        """Tell it that it claims under another lease now."""
        self.lease = lease
        self.send(Renew(lease=lease, lost=lost))

    def extended(self, lease: LeaseId, runs_out_ms: int) -> None:
        """Tell it until when its lease is sure to hold."""
        self.send(Extended(lease, runs_out_ms))

    def cancel(self, jobs: tuple[AttemptKey, ...]) -> None:
        """Tell it to cancel attempts."""
        self.send(CancelJobs(jobs))

    def overrun(self, jobs: tuple[AttemptKey, ...]) -> None:
        """Pass on that cancelled attempts did not end."""
        self.attendant.overran(self, jobs)

    async def ask_stack(self) -> str:
        """Return the stacks of its threads now, empty where its process cannot run."""
        return await self._stacks.ask(self.process)

    def read_stack(self) -> str:
        """Return what faulthandler has written so far; empty if it wrote nothing."""
        return self._stacks.read()

    async def _live(self) -> ExitStatus:
        """Take in what it says until its process has ended; return how it did."""
        listening = asyncio.create_task(self._listen())
        kill_if_deaf(listening, f"runner {self.pid}", partial(self.kill, End.CRASHED))
        status = await self.process.wait()
        # What it said before it died is in the socket; a descendant may hold the other end open.
        await asyncio.wait([listening], timeout=_LAST_WORDS_S)
        listening.cancel()
        self._channel.close()
        self.phase = Phase.ENDED
        if self.end is None:
            self.end = End.STOPPED if self.is_drained else End.CRASHED
        if not self.hello.done():
            self.hello.cancel()
        self.news.ring()
        return status

    def bury(self) -> None:
        """Reap the process and close what is left of it."""
        self.process.bury()
        self._stacks.close()

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            self._take_in(message)
            self.news.ring()
        # One that has closed its channel can be told nothing any more: it is as good as dead.
        await asyncio.wait([self.process.exited], timeout=_LEAVE_S)
        if not self.process.exited.done():
            why = self._channel.broken or "it closed its channel"
            _log.error("runner %d is killed: %s", self.pid, why)
            self.kill(End.STOPPED if self.is_drained else End.CRASHED)

    def _take_in(self, message: FromRunner) -> None:
        match message:
            case Hello():
                if not self.hello.done():
                    self.hello.set_result(message)
            case Ready():
                if self.phase is Phase.STARTING:
                    self.phase = Phase.RUNNING
                    self.attendant.changed(self)
            case Beat():
                self.beat, self.silent_ms = message, 0
            case Watch():
                self.watched[message.id, message.fence] = message.hard_boot_ms
                self.attendant.watching(message.hard_boot_ms)
            case Unwatch():
                self.watched.pop((message.id, message.fence), None)
            case Yielded():
                self.attendant.yielded(self, message.threads)
            case Paced():
                self.attendant.paced(message.runs)
            case Drained():
                self.is_drained = True
