"""Middleware: coroutines around each attempt. One idea, one file.

A middleware may look, measure, set up and tear down; whether a failure is tried again is decided
in `core.decision`, never here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from penstock.context import CurrentJob

CallNext = Callable[[], Awaitable[Any]]
"""Runs the rest: the next middleware, and in the end the task; returns what the task returned."""


class Middleware(Protocol):
    """An async callable around each attempt, the first registered outermost."""

    async def __call__(self, job: CurrentJob, call_next: CallNext, /) -> Any:
        """Do something, `await call_next()`, do something more, and return its result.

        What it raises counts as raised by the task. It runs in the event loop also where the task
        runs in a thread, so it must not block.
        """
        ...


__all__ = ["CallNext", "Middleware"]
