"""The tasks of the fault suite. Each writes what it does into the history, then does it.

They belong to no app, so that a test enqueues them through an app of its own URL, and a worker
runs them through `tests.chaos.app:app`.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

from penstock import Exponential, Snooze, SoftTimeLimit, current_job, library_task
from tests.support.attempt_log import logged

#: Short waits between attempts: the suite waits for faults, not for backoff.
QUICK = Exponential(base="50ms", cap="200ms", jitter="full")
Report = dict[str, Any]
Death = Literal["segfault", "exit_now", "sys_exit", "abort", "close_files", "unpicklable", "huge"]
Stubbornness = Literal["sleep", "hold_gil", "swallow_all"]


class AskedToFail(Exception):
    """What a job raises when it was asked to fail."""


@library_task(backoff=QUICK)
def work(seconds: float = 0.01, fails: int = 0, snoozes: int = 0) -> Report:
    """Sleep and have one effect; fail or snooze in the first runs as asked."""
    with logged() as log:
        log.note_progress()
        time.sleep(seconds)
        if log.attempt <= snoozes:
            raise Snooze("100ms")
        if log.attempt <= snoozes + fails:
            raise AskedToFail(f"asked to fail in run {log.attempt}")
        log.effect()
        return log.result()


@library_task(backoff=QUICK)
async def wait(seconds: float = 0.01, fails: int = 0) -> Report:
    """Do as `work` does, as a coroutine."""
    with logged() as log:
        log.note_progress()
        await asyncio.sleep(seconds)
        log.note_progress()
        if log.attempt <= fails:
            raise AskedToFail(f"asked to fail in run {log.attempt}")
        log.effect()
        return log.result()


@library_task(backoff=QUICK)
async def narrate(seconds: float) -> Report:
    """Tell progress and log lines all along; only the first run takes `seconds`."""
    with logged() as log:
        end = time.monotonic() + (seconds if log.attempt == 1 else 0.0)
        log.narrate()
        while time.monotonic() < end:
            await asyncio.sleep(0.05)
            log.narrate()
        log.effect()
        return log.result()


@library_task(backoff=QUICK)
def keep(seconds: float) -> Report:
    """Sleep, and keep a checkpoint in the end, which must be written before this goes on."""
    with logged() as log:
        time.sleep(seconds)
        log.checkpoint()
        log.effect()
        return log.result()


@library_task(backoff=QUICK, isolation="process")
def alone(seconds: float = 0.01) -> Report:
    """Do as `work` does, alone in a child."""
    with logged() as log:
        log.note_progress()
        time.sleep(seconds)
        log.effect()
        return log.result()


@library_task(backoff=QUICK, isolation="process")
def die(how: Death, times: int = 1) -> Report:
    """End this process, or try to, in the first `times` runs; alone in a child."""
    return _die(how, times)


@library_task(backoff=QUICK)
def die_among_others(how: Death, times: int = 1) -> Report:
    """Do as `die` does, in a process shared with others."""
    return _die(how, times)


class Unpicklable(Exception):
    """An exception that cannot be copied: it holds a frame, and its constructor wants more."""

    def __init__(self, one: object, two: object) -> None:
        """Keep what nobody can pickle."""
        super().__init__(one)
        self.frame = sys._getframe()
        self.two = two


#: Characters of the error text that must be capped on its way to the broker.
HUGE_CHARS = 64 * 2**20


def _die(how: Death, times: int) -> Report:
    with logged() as log:
        if log.attempt <= times:
            if how not in ("unpicklable", "huge", "sys_exit"):
                log.fault(f"self_{how}")
            _end_process(how)
        log.effect()
        return log.result()


def _end_process(how: Death) -> None:
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit_now":
            os._exit(3)
        case "abort":
            os.abort()
        case "close_files":
            os.closerange(0, 1024)
        case "sys_exit":
            sys.exit(4)
        case "unpicklable":
            raise Unpicklable(sys._getframe(), object())
        case "huge":
            raise AskedToFail("x" * HUGE_CHARS)


@library_task(backoff=QUICK, isolation="process")
def hang_alone(how: Stubbornness, seconds: float) -> Report:
    """Go on past every limit, alone in a child."""
    return _hang(how, seconds)


@library_task(backoff=QUICK)
def hang(how: Stubbornness, seconds: float) -> Report:
    """Go on past every limit, in a thread of a shared runner."""
    return _hang(how, seconds)


def _hang(how: Stubbornness, seconds: float) -> Report:
    with logged() as log:
        if how != "sleep":
            log.fault(f"hang_{how}")
        match how:
            case "sleep":
                time.sleep(seconds)
            case "hold_gil":
                hold_gil(seconds)
            case "swallow_all":
                swallow_all(seconds, log.job)
        log.effect()
        return log.result()


def hold_gil(seconds: float) -> None:
    """Loop in C, interpreter lock held: no signal handler and no other thread gets a turn."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # `any` looks at 10^9 falsy items without a look at signals or at who waits for the lock.
        any(itertools.repeat(0, 10**9))


def swallow_all(seconds: float, job: str) -> None:
    """Catch everything that is raised into the loop and go on; each catch is written down."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException as error:  # noqa: BLE001 - the point of this task
            current_job().log(f"swallowed {type(error).__name__}")


@library_task(backoff=QUICK)
async def hang_in_loop(seconds: float) -> Report:
    """Swallow every cancellation, in a coroutine."""
    with logged() as log:
        log.fault("hang_in_loop")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await asyncio.sleep(0.05)
            except BaseException as error:  # noqa: BLE001 - the point of this task
                current_job().log(f"swallowed {type(error).__name__}")
        log.effect()
        return log.result()


@library_task(backoff=QUICK)
def tidy_up(seconds: float) -> Report:
    """Sleep, and on the soft limit tidy up and say when it came and how often."""
    return _tidy_up(seconds)


@library_task(backoff=QUICK, isolation="process")
def tidy_up_alone(seconds: float) -> Report:
    """Do as `tidy_up` does, alone in a child."""
    return _tidy_up(seconds)


def _tidy_up(seconds: float) -> Report:
    with logged() as log:
        began = time.monotonic()
        limits: list[float] = []
        while time.monotonic() < began + seconds:
            try:
                time.sleep(0.01)
            except SoftTimeLimit:
                limits.append(time.monotonic() - began)
        log.effect()
        return log.result() | {"limits_s": limits}


@library_task(backoff=QUICK)
async def tidy_up_in_loop(seconds: float) -> Report:
    """Do as `tidy_up` does, in a coroutine."""
    with logged() as log:
        began = time.monotonic()
        limits: list[float] = []
        while time.monotonic() < began + seconds:
            try:
                await asyncio.sleep(began + seconds - time.monotonic())
            except SoftTimeLimit:
                limits.append(time.monotonic() - began)
        log.effect()
        return log.result() | {"limits_s": limits}


@library_task(backoff=QUICK)
def ignore_sigterm(seconds: float) -> Report:
    """Sleep on with SIGTERM ignored, where a handler may be set at all."""
    with logged() as log:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(seconds)
        log.effect()
        return log.result()


@library_task(backoff=Exponential(base="1h", cap="1h", jitter="none"))
def ask_again_later(seconds: float) -> Report:
    """Fail at once, so that the job waits an hour for its next attempt."""
    with logged():
        raise AskedToFail(f"come back in an hour, not in {seconds} s")


@library_task(backoff=QUICK)
def measure(text: str) -> Report:
    """Return the length of a text; the target of poison payloads, in a thread."""
    with logged() as log:
        log.effect()
        return log.result() | {"chars": len(text)}


@library_task(backoff=QUICK)
async def measure_in_loop(text: str) -> Report:
    """Do as `measure` does, in a coroutine."""
    with logged() as log:
        log.effect()
        return log.result() | {"chars": len(text)}


@library_task(backoff=QUICK, isolation="process")
def measure_alone(text: str) -> Report:
    """Do as `measure` does, alone in a child."""
    with logged() as log:
        log.effect()
        return log.result() | {"chars": len(text)}


@library_task(backoff=QUICK, exclusive=True)
def guard(seconds: float) -> Report:
    """Tell all along that it runs; only the first run takes `seconds`. Must not overlap."""
    with logged() as log:
        end = time.monotonic() + (seconds if log.attempt == 1 else 0.5)
        while time.monotonic() < end:
            log.lives()
            time.sleep(0.02)
        log.effect()
        return log.result()


@library_task(backoff=QUICK)
async def wait_for(path: str, fails: int = 0) -> Report:
    """Have one effect, once a file is there; fail in the first runs as asked."""
    with logged() as log:
        # Hundreds of them may wait side by side, and a look takes microseconds; whoever makes the
        # file is another process.
        while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.1)
        if log.attempt <= fails:
            raise AskedToFail(f"asked to fail in run {log.attempt}")
        log.effect()
        return log.result()
