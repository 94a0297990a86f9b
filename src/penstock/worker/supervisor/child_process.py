"""One child: a process in which one job at a time runs alone, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from typing import Final

from penstock.core import outcome as o
from penstock.core.job import Claimed, StoredError
from penstock.core.outcome import Outcome
from penstock.executors.family import Family
from penstock.executors.memory_group import MemoryGroup
from penstock.executors.process import Process, Spawner
from penstock.executors.procfs import read_holdings, signal_all
from penstock.worker.asks import Ask
from penstock.worker.measured import Measured
from penstock.worker.pulse import first_of
from penstock.worker.wire import (
    CHANNEL_FD_ENV,
    STACK_FD_ENV,
    CancelRun,
    Finished,
    FromChild,
    Hello,
    Noted,
    Prepare,
    Ready,
    Retire,
    Run,
)

from .channel import Channel, kill_if_deaf, open_lines
from .child_calls import ChildCalls
from .child_end import ChildFailed, Mark, OnOver, judge
from .leftovers import Wear
from .stack_file import StackFile

_log = logging.getLogger("penstock.worker")

#: Module that a child runs; its argument is the app.
CHILD_MODULE: Final = "penstock.worker.child"
#: Seconds to read what a dead child said last.
_LAST_WORDS_S: Final = 0.5
#: Characters of a child's stack that are kept with the job.
_STACK_CHARS_MAX: Final = 8_000


class ChildProcess:
    """A child from its spawn to its burial. It runs one job after the other.

    Attributes:
        process: the process itself.
        family: what it and its jobs have started.
        jobs: jobs that it has begun.
        job: what it runs now.
        mark: why its present attempt is being ended, if it is.
        group: counts and limits its memory; None: it is only watched.
        wear: what jobs have left in it.
        measured: what the child saw of itself in the attempt that ended last; None: it ended
            without a word.
    """

    def __init__(
        self, process: Process, channel: Channel[FromChild], stack_fd: int, family: Family
    ) -> None:
        """Speak to a process that was just spawned; what it starts will be `family`."""
        self.process = process
        self._channel = channel
        self._stacks = StackFile(stack_fd)
        self.family = family
        self._calls: ChildCalls | None = None
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._on_over: OnOver | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hard_ms = 0
        self._listening = asyncio.create_task(self._listen(), name=f"child {process.pid}")
        kill_if_deaf(self._listening, f"child {process.pid}", process.kill)
        channel.take_at_once = self._take_at_once
        self._mourning = asyncio.create_task(self._mourn(), name=f"end of child {process.pid}")
        self._ending: asyncio.Task[None] | None = None
        self.jobs = 0
        self.job: Claimed | None = None
        self.mark: Mark | None = None
        self.group: MemoryGroup | None = None
        self.wear = Wear(loop.time())
        self.measured: Measured | None = None

    @classmethod
    async def spawn(
        cls, spawner: Spawner, app: str, env: Mapping[str, str], mark: str
    ) -> ChildProcess:
        """Start a child for `app`, "module:attribute".

        Raises:
            OSError: the system refused; nothing was started.
        """
        channel: Channel[FromChild]
        channel, theirs, stack_fd = await open_lines(FromChild, "penstock-stack")
        try:
            fds = {CHANNEL_FD_ENV: theirs.fileno(), STACK_FD_ENV: stack_fd}
            named = {name: str(fd) for name, fd in fds.items()}
            process = spawner.spawn(
                CHILD_MODULE, app, env={**env, **named}, fds=tuple(fds.values())
            )
        except BaseException:
            channel.close()
            os.close(stack_fd)
            raise
        finally:
            theirs.close()
        return cls(process, channel, stack_fd, Family(process, mark, spawner.knows))

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it can be given another job."""
        return self.mark is None and self._channel.broken is None and not self.process.exited.done()

    async def prepare(self, order: Prepare, *, max_ms: int) -> None:
        """Let it import the app and run the start hooks, within `max_ms`.

        Raises:
            ChildFailed: it said why not, died, or takes longer: then its stack says what it does.
        """
        self._channel.send(order)
        exited = self.process.exited
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(first_of(self._ready, exited), max_ms / 1000)
        if not self._ready.done() and not exited.done():
            stack = (await self._stacks.ask(self.process))[:_STACK_CHARS_MAX] or None
            text = f"child {self.pid} is not ready after {max_ms / 1000:g} s"
            raise ChildFailed(StoredError("timed_out", text, stack))
        if not self._ready.done():
            await asyncio.wait([self._listening], timeout=_LAST_WORDS_S)
        if self._ready.done():
            self._ready.result()
            self.wear.at_start = read_holdings(self.pid)
            self.family.keep(self.group)
            return
        raise ChildFailed(self._crash(" before it was ready"))

    def begin(
        self, job: Claimed, calls: ChildCalls, on_over: OnOver,
        *, soft_ms: int, hard_ms: int, grace_ms: int,
    ) -> None:  # fmt: skip
        """Run a job; `on_over` is told how its attempt ended, once, and not before this returns.

        Args:
            job: claimed, and not run yet.
            calls: what it may ask for.
            on_over: as said.
            soft_ms: kept by the child itself; 0: none.
            hard_ms: kept here; 0: none.
            grace_ms: what programs that the job started are given to end after the hard limit.
        """
        loop = asyncio.get_running_loop()
        self.jobs += 1
        self.job, self._calls, self._on_over, self._hard_ms = job, calls, on_over, hard_ms
        self.measured = None
        try:
            self._channel.send(Run.of(job, soft_timeout_ms=soft_ms))
        except ValueError as error:
            flaw = o.PayloadUnreadable(StoredError("payload_unreadable", str(error)))
            loop.call_soon(self._conclude, flaw)
            return
        if hard_ms:
            self._timer = loop.call_later(hard_ms / 1000, self.end, Mark.TIME_LIMIT, grace_ms)
        if self._mourning.done():
            # Race: it died while it was idle, and nobody has noticed yet.
            loop.call_soon(self._conclude, None)

    def cancel(self, *, drain: bool, grace_ms: int) -> None:
        """Raise CancelRequested in the job, and kill the child if it goes on for `grace_ms`."""
        if self.job is not None and self.mark is None:
            self._channel.send(CancelRun(drain=drain))
            self._end_later(Mark.DRAIN if drain else Mark.CANCEL, grace_ms)

    def end(self, mark: Mark, grace_ms: int = 0) -> None:
        """End the attempt by killing the child.

        Programs that the job started are sent SIGTERM first and given `grace_ms`, so that they can
        remove what they hold; without any the child is killed at once.
        """
        if self.mark is None:
            self.mark = mark
        if self._ending is not None and not grace_ms:
            self._ending.cancel()  # It may wait for a grace to pass.
            self._ending = None
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(grace_ms))

    async def retire(self, grace_ms: int) -> None:
        """Let an idle child run its stop hooks and end; kill it if it takes longer."""
        self._channel.send(Retire())
        await asyncio.wait([self.process.exited], timeout=grace_ms / 1000)
        await self.destroy()

    async def destroy(self) -> None:
        """Kill the child and all it has started, and forget it."""
        self._on_over = None
        if self._ending is not None:
            self._ending.cancel()
        left = await self.family.kill(self.group)
        if left:
            _log.error("child %d left %d processes that cannot be killed", self.pid, left)
        self._listening.cancel()
        self._mourning.cancel()
        self._channel.close()
        self.process.bury()
        self._stacks.close()

    def _end_later(self, mark: Mark, grace_ms: int) -> None:
        job = self.job

        def end() -> None:
            # Race: the job may have ended in time, and another one may run here by now.
            if self.job is job:
                self.end(mark)

        asyncio.get_running_loop().call_later(grace_ms / 1000, end)

    async def _end(self, grace_ms: int) -> None:
        programs = self.family.living(self.group) if grace_ms else []
        if programs:
            signal_all(programs, signal.SIGTERM)
            # If the attempt ends meanwhile the child is destroyed, and this task with it.
            await asyncio.wait([self.process.exited], timeout=grace_ms / 1000)
        await self.family.kill(self.group)

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            await self._take_in(message)
        # A child that has closed its channel can tell nothing any more: it is as good as dead.
        await asyncio.wait([self.process.exited], timeout=_LAST_WORDS_S)
        if not self.process.exited.done():
            why = self._channel.broken or "it closed its channel"
            _log.error("child %d is killed: %s", self.pid, why)
            self.process.kill()

    async def _take_in(self, message: FromChild) -> None:
        match message:
            case Hello(error=error):
                if error is not None and not self._ready.done():
                    self._ready.set_exception(ChildFailed(error))
            case Ready() if not self._ready.done():
                self._ready.set_result(None)
            case Finished():
                self._finish(message)
            case Noted():
                await self._note(message)
            case Ask() if self._calls is not None:
                self._channel.send(await self._calls.answer(message))

    def _take_at_once(self, message: FromChild) -> bool:
        if isinstance(message, Finished):
            self._finish(message)
            return True
        return False

    def _finish(self, message: Finished) -> None:
        if self.job is not None and message.id == self.job.id:
            self.measured = message.measured
            self._conclude(message.outcome)

    async def _note(self, note: Noted) -> None:
        if self.job is None or self._calls is None or note.id != self.job.id:
            return
        if not await self._calls.note(self.job, note):
            _log.warning("job %s belongs to another worker now: its child is killed", note.id)
            self.end(Mark.LOST)

    async def _mourn(self) -> None:
        """End the attempt under way once the process has ended and its last words are read."""
        await asyncio.wait([self.process.exited])
        await asyncio.wait([self._listening], timeout=_LAST_WORDS_S)
        self._conclude(None)

    def _conclude(self, said: Outcome | None) -> None:
        on_over, self._on_over = self._on_over, None
        if on_over is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.job = self._calls = None
        on_over(judge(said, self.mark, hard_ms=self._hard_ms, crash=self._crash))

    def _crash(self, when: str = "") -> StoredError:
        text = f"child {self.pid} {self.process.exited.result()}{when}"
        return StoredError("crashed", text, self._stacks.read()[:_STACK_CHARS_MAX] or None)
