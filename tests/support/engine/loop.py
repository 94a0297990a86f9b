"""An event loop without threads and sockets: virtual time, and processes that can be killed.

Every callback belongs to a process, by the context that it was asked for in. Within one process
callbacks run in the order in which they were asked for, as asyncio promises; between processes the
order is drawn. A process that is stopped keeps its callbacks until it goes on; one that is killed
never runs another, so that nothing of it is tidied up: that is what SIGKILL does.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

#: Seconds since boot at which virtual time begins, so that "an hour ago" is a legal instant.
BEGIN_S = 3_600.0
#: Callbacks of one run; a run that needs more turns on the spot.
TURNS_MAX = 3_000_000


class Process:
    """What is killed and stopped together: the callbacks, timers and tasks of one process.

    Attributes:
        pid: never used before; beyond any that the kernel gives.
        kind: "supervisor", "runner", "child", or who else acts.
        context: in which its first callback runs.
        died: set when it is killed, or has ended.
        at_death: called when it is killed, by who asked for it: nothing of its own runs then.
        tasks: all that it ever started. They are kept: a task that is forgotten is closed, and its
            `finally` would run in the middle of somebody else's turn.
    """

    def __init__(self, pid: int, kind: str) -> None:
        """Start alive."""
        self.pid = pid
        self.kind = kind
        self.is_dead = False
        self.is_stopped = False
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.died = asyncio.Event()
        self.at_death: dict[object, Callable[[], None]] = {}
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)


#: The process that a callback belongs to.
PROCESS: ContextVar[Process] = ContextVar("process")


class SimulatedLoop(asyncio.AbstractEventLoop):
    """As much of a loop as the engine uses.

    Args:
        random: draws the order between processes.

    Attributes:
        now_s: virtual time since boot.
        turns: callbacks run so far.
        crashes: what callbacks raised that nobody caught.
    """

    def __init__(self, random: Random) -> None:
        """Start at `BEGIN_S` with nothing to do."""
        self.now_s = BEGIN_S
        self.turns = 0
        self.crashes: list[str] = []
        self._random = random
        self._pids = itertools.count(10_000_001)
        self._order = itertools.count()
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._readers: dict[int, asyncio.Handle] = {}
        self._is_over = False
        self.processes: list[Process] = []
        self.world = self.process("world")

    def process(self, kind: str) -> Process:
        """Return a new process, with nothing to do."""
        made = Process(next(self._pids), kind)
        self.processes.append(made)
        return made

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run `main` in the world's own process until it ends; then nothing runs any more."""
        asyncio._set_running_loop(self)
        try:
            task = self.world.context.run(self.create_task, main)
            while not task.done():
                self._turn()
                if self.turns > TURNS_MAX:
                    raise RuntimeError(f"the world turns on the spot at {self.now_s:.3f} s")
            task.result()
        finally:
            self._is_over = True
            asyncio._set_running_loop(None)

    def _turn(self) -> None:
        if not self._runnable:
            self._pass_time()
        runnable = self._runnable
        place = int(self._random.random() * len(runnable)) if len(runnable) > 1 else 0
        process = runnable[place]
        handle = process.ready.popleft()
        if not process.ready:
            del runnable[place]
        if handle._cancelled:
            return
        self.turns += 1
        handle._run()

    def _pass_time(self) -> None:
        """Go on to the next instant at which something is due."""
        timers = self._timers
        while not self._runnable:
            if not timers:
                raise RuntimeError("nothing will ever happen again in this world")
            at_s = timers[0][0]
            self.now_s = max(self.now_s, at_s)
            while timers and timers[0][0] <= self.now_s:
                handle = heapq.heappop(timers)[2]
                if not handle._cancelled:
                    self._make_ready(handle)

    def _make_ready(self, handle: asyncio.Handle) -> None:
        process: Process = handle._context[PROCESS]  # type: ignore[attr-defined]
        if process.is_dead:
            return
        if not process.ready and not process.is_stopped:
            self._runnable.append(process)
        process.ready.append(handle)

    def kill(self, process: Process) -> None:
        """Let a process never do anything again."""
        process.is_dead = True
        process.died.set()
        for told in list(process.at_death.values()):
            told()
        process.at_death.clear()
        process.ready.clear()
        if process in self._runnable:
            self._runnable.remove(process)

    def stop_process(self, process: Process) -> None:
        """Let a process do nothing until it is let go on."""
        process.is_stopped = True
        if process in self._runnable:
            self._runnable.remove(process)

    def resume(self, process: Process) -> None:
        """Let a stopped process go on with all that has become due meanwhile."""
        process.is_stopped = False
        if process.ready and not process.is_dead:
            self._runnable.append(process)

    def post(
        self, process: Process, after_s: float, function: Callable[..., Any], *args: Any
    ) -> None:
        """Call a function in a process, some time from now, if it lives then."""
        self.call_later(after_s, function, *args, context=process.context)

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> None:
        """Begin something in a process, whose task it stays."""
        process.tasks.append(process.context.run(asyncio.Task, work, loop=self))

    # What asyncio asks of a loop.

    def time(self) -> float:
        """Return virtual time."""
        return self.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Let a callback run in its process, after those asked for before."""
        handle = asyncio.Handle(callback, args, self, context)
        if not self._is_over:
            self._make_ready(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a callback run after `delay` virtual seconds."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a callback run at an instant."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._is_over:
            heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:  # fmt: skip
        """Start a task in the process of its context."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        process = PROCESS.get() if context is None else context[PROCESS]
        process.tasks.append(task)
        return task

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """Let a callback run whenever the virtual descriptor is `readable`."""
        self._readers[fd] = asyncio.Handle(callback, args, self, None)

    def remove_reader(self, fd: int) -> bool:  # type: ignore[override]
        """Undo `add_reader`."""
        return self._readers.pop(fd, None) is not None

    def readable(self, fd: int) -> None:
        """Let whoever reads a virtual descriptor know."""
        handle = self._readers.get(fd)
        if handle is not None:
            self._make_ready(handle)

    def get_debug(self) -> bool:
        """Return False: no time is measured here."""
        return False

    def is_running(self) -> bool:
        """Return whether the world goes on."""
        return not self._is_over

    def is_closed(self) -> bool:
        """Return whether it does not."""
        return self._is_over

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught: in this world that is a defect."""
        if not self._is_over:
            self.crashes.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it in the heap: it is passed over when its time comes."""
