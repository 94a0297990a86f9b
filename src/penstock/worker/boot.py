"""What a runner and a child do first, and how they end: ties to the supervisor, hooks, the loop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import inspect
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from penstock.context import CURRENT
from penstock.executors.prctl import Option, prctl
from penstock.telemetry import logs
from penstock.worker.wire import CHANNEL_FD_ENV, STACK_FD_ENV, STACK_SIGNAL

_log = logging.getLogger("penstock.runner")

T = TypeVar("T")
Hook = Callable[[], Any]

#: Exit status of a process whose app or start hooks failed (sysexits.h: EX_SOFTWARE).
EXIT_FAILED: Final = 70
#: Exit status of a process whose supervisor is gone (sysexits.h: EX_UNAVAILABLE).
EXIT_ORPHANED: Final = 69
#: Seconds that stop hooks and left-over asyncio tasks may take, each.
STOP_WAIT_S: Final = 5.0
#: Seconds that exit handlers and left-over threads of user code may take.
_EXIT_WAIT_S: Final = 2.0
#: Points of 1,000 that a child is a likelier victim by: more than any other process that does not
#: ask for it, and not the first of all.
_OOM_SCORE: Final = "800"
#: A tenth of a second each: enough for some ten children that start at once.
_SESSION_TRIES: Final = 50
#: Taken by an empty handler: these processes stop by frame or end of file alone (`wire`).
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def tie_to_parent() -> None:
    """Let the kernel kill this process when its parent dies.

    Race: a parent that died before this leaves another parent, or an end of file on the channel.
    """
    parent = os.getppid()
    prctl(Option.PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        end_at_once(EXIT_ORPHANED)


def forgo_privileges() -> None:
    """Let no program that this process starts gain privileges, by set-user-id bits or otherwise."""
    prctl(Option.NO_NEW_PRIVS, 1)


def be_killed_first() -> None:
    """Let the kernel end this process, and what it starts, before the supervisor and the runners.

    Only where memory runs out on the whole machine or in the container: a group of its own is
    limited by itself. Anybody may raise his own score, nobody without privileges lowers it again.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def stand_back(nice: int) -> None:
    """Leave the CPUs to the worker and its light jobs, as far as they want them.

    Kernels that schedule by session (CONFIG_SCHED_AUTOGROUP) weigh this session against that of the
    worker, whatever the process says of itself: a child leads a session of its own, and says it for
    this one too.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid() and not _weigh_session(nice):
        # Nobody waits for it: user code may begin meanwhile.
        threading.Thread(target=_keep_weighing_session, args=(nice,), daemon=True).start()


def _weigh_session(nice: int) -> bool:
    """Return False where it is to be tried again."""
    try:
        Path("/proc/self/autogroup").write_text(str(nice))
    except BlockingIOError:
        # Bound: of who is not root the kernel takes ten a second, all of the machine together.
        return False
    except OSError:
        return True
    return True


def _keep_weighing_session(nice: int) -> None:
    for _ in range(_SESSION_TRIES):
        time.sleep(random.uniform(0.05, 0.15))
        if _weigh_session(nice):
            return


def set_up(environ: Mapping[str, str]) -> int:
    """Take stop signals, write stacks where told, and log; return the channel's descriptor.

    Args:
        environ: the variables of `wire`, and the log settings.

    Raises:
        SystemExit: there is no channel: nobody but a supervisor starts this program.
    """
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: None)
    if STACK_FD_ENV in environ:
        _write_stacks_to(int(environ[STACK_FD_ENV]))
    logs.install(
        level=environ.get("PENSTOCK_LOG_LEVEL", "info"),
        form=environ.get("PENSTOCK_LOG_FORMAT", "human"),
        file=environ.get("PENSTOCK_LOG_FILE", ""),
        current=CURRENT.get,
    )
    if CHANNEL_FD_ENV not in environ:
        sys.exit(f"{CHANNEL_FD_ENV} is not set: start workers with `penstock worker`")
    return int(environ[CHANNEL_FD_ENV])


async def run_hooks(
    hooks: Iterable[Hook], call: Callable[[Hook], Awaitable[Any]] | None = None
) -> None:
    """Run start or stop hooks in order; coroutine functions are awaited.

    Args:
        hooks: functions without arguments.
        call: awaited for each plain function; None: they are called here.

    Raises:
        BaseException: what a hook raises; the later ones do not run.
    """
    for hook in hooks:
        if call is None or inspect.iscoroutinefunction(hook):
            result = hook()
        else:
            result = await call(hook)
        if inspect.isawaitable(result):
            await result


async def run_stop_hooks(
    hooks: Iterable[Hook], call: Callable[[Hook], Awaitable[Any]] | None = None
) -> None:
    """Run stop hooks, and cancel the asyncio tasks that user code left; never raises.

    A hook that fails or takes longer than `STOP_WAIT_S` is told in the log.
    """
    try:
        async with asyncio.timeout(STOP_WAIT_S):
            await run_hooks(hooks, call)
    except BaseException:  # noqa: BLE001 - a hook may raise anything; the process ends anyway
        _log.exception("a stop hook failed or took longer than %g s", STOP_WAIT_S)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=STOP_WAIT_S)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's where it is installed, else asyncio's."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


def run_guarded(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end, whatever user code does to the loop.

    A task or callback of user code that raises SystemExit or KeyboardInterrupt, or stops the loop,
    must not end the process that it shares with other jobs.

    Raises:
        BaseException: what `main` itself raises.
    """
    asyncio.set_event_loop(loop)
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError):
            if task.done() or loop.is_closed():
                raise
            _log.exception("user code tried to end the event loop; it goes on")


def end_at_once(status: int) -> NoReturn:
    """End this process now; nothing of user code runs any more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status)


def bound_exit() -> None:
    """From now on the process ends in bounded time, whatever threads user code has left behind."""
    timer = threading.Timer(_EXIT_WAIT_S, end_at_once, (0,))
    timer.daemon = True
    timer.start()


def _write_stacks_to(descriptor: int) -> None:
    """Write the stacks of all threads there on STACK_SIGNAL and on fatal errors.

    faulthandler answers in the signal's own context, so that a thread which holds the interpreter
    for ever is seen too.
    """
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - its signature knows no name
    faulthandler.enable(file=descriptor, all_threads=True)
    faulthandler.register(STACK_SIGNAL, file=descriptor, all_threads=True, chain=False)
