"""Waiting for something to become true, with a deadline and a report when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks; short, so that waits end soon after the event.
LOOK_EVERY_S = 0.02


class DeadlinePassed(AssertionError):
    """What was waited for did not come; the message says what was seen instead."""


def eventually(
    look: Callable[[], T | None],
    *,
    within_s: float,
    what: str,
    state: Callable[[], object] = lambda: "",
    every_s: float = LOOK_EVERY_S,
) -> T:
    """Return the first value of `look()` that is true.

    Args:
        look: asked again and again; must not block.
        within_s: how long to ask; a bound for broken runs, never a measure of speed.
        what: named in the failure.
        state: asked once on failure; what it returns is printed.
        every_s: pause between two looks.

    Raises:
        DeadlinePassed: nothing came; the message holds `what`, the last value and the state.
    """
    deadline = time.monotonic() + within_s
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"waited {within_s:g} s for {what}; last seen: {value!r}\n{state()}"
            raise DeadlinePassed(message)
        time.sleep(every_s)
