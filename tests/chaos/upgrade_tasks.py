"""Tasks and an app that both releases can load, and options that only the newer one has.

Nothing here may need what the fixture of tests/support/release.py does not know.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import penstock
from penstock import App, Exponential, library_task
from penstock.tasks.options import TaskOptions
from tests.support.attempt_log import AttemptLog, logged

QUICK: Any = Exponential(base="50ms", cap="200ms", jitter="full")
#: Options that the older release refuses; each worker has those of its own.
NEWER: dict[str, Any] = {
    name: value
    for name, value in {"exclusive": True, "on_partition": "kill"}.items()
    if name in TaskOptions.__annotations__
}
Report = dict[str, Any]


class AskedToFail(Exception):
    """What a job raises when it was asked to fail."""


def _end(log: AttemptLog, fails: int) -> Report:
    """Fail in the first runs as asked; else have the one effect, and tell which code ran."""
    if log.attempt <= fails:
        log.checkpoint()
        raise AskedToFail(f"asked to fail in run {log.attempt}")
    log.effect()
    return log.result() | {"code": penstock.__file__}


@library_task(backoff=QUICK)
async def wait(seconds: float = 0.01, fails: int = 0) -> Report:
    """Sleep as a coroutine."""
    with logged() as log:
        log.narrate()
        await asyncio.sleep(seconds)
        return _end(log, fails)


@library_task(backoff=QUICK)
def work(seconds: float = 0.01, fails: int = 0) -> Report:
    """Sleep in a thread."""
    with logged() as log:
        log.note_progress()
        time.sleep(seconds)
        return _end(log, fails)


@library_task(backoff=QUICK, isolation="process")
def alone(seconds: float = 0.01) -> Report:
    """Sleep in a child."""
    with logged() as log:
        time.sleep(seconds)
        return _end(log, 0)


@library_task(backoff=QUICK, isolation="process", **NEWER)
def newer(seconds: float = 0.01) -> Report:
    """Sleep in a child, under the options that only the newer release has."""
    with logged() as log:
        time.sleep(seconds)
        return _end(log, 0)


TASKS = (wait, work, alone, newer)
#: For workers; its broker is that of their settings.
app = App()
app.include(*TASKS)
