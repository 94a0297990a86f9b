"""How a child or an attempt in it ended: by what it said, and why it was killed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from penstock.core import outcome as o
from penstock.core.job import StoredError
from penstock.core.memory import ASSUMED_BYTES
from penstock.core.outcome import Outcome

OnOver = Callable[[Outcome | None], None]
"""Told how an attempt ended; None: the job belongs to another worker now."""


class ChildFailed(Exception):
    """The child could not be made ready; `error` says why."""

    def __init__(self, error: StoredError) -> None:
        """Keep the text."""
        super().__init__(error.message)
        self.error = error


class Mark(StrEnum):
    """Why the supervisor ended an attempt; the first reason given stands."""

    TIME_LIMIT = "time_limit"
    MEMORY = "memory"
    """It passed its memory limit."""
    CANCEL = "cancel"
    DRAIN = "drain"
    CUT_OFF = "cut_off"
    """The broker cannot be reached, and the job must not outlive its lease."""
    LOST = "lost"
    """The job belongs to another worker now; nothing is settled."""


def judge(
    said: Outcome | None, mark: Mark | None, *, hard_ms: int, crash: Callable[[], StoredError],
) -> Outcome | None:  # fmt: skip
    """Return the outcome of an attempt; None: the job belongs to another worker now.

    Args:
        said: the child's own word; None: it ended without one.
        mark: why the supervisor ended the attempt; None: it did not.
        hard_ms: the hard limit that was kept.
        crash: tells how the process ended.
    """
    if mark is None and said is not None:
        return said
    match mark:
        case Mark.LOST:
            return None
        case Mark.TIME_LIMIT:
            # Its programs were ended at the limit: a failure that follows is the limit's.
            text = f"the time limit of {hard_ms / 1000:g} s passed"
            limit = o.TimedOut(StoredError("timed_out", text))
            return said if isinstance(said, o.Succeeded) else limit
        case _ if said is not None:
            return said
        case Mark.MEMORY:
            # What it took and was given is known to the attempt, which says so.
            text = "it passed its memory limit and was killed"
            return o.OutOfMemory(StoredError("out_of_memory", text), ASSUMED_BYTES)
        case Mark.CANCEL:
            return o.CancelledByRequest(StoredError("cancelled", "its cancel was requested"))
        case Mark.DRAIN:
            text = "the worker stopped before the job ended"
            return o.Interrupted(StoredError("interrupted", text))
        case Mark.CUT_OFF:
            text = "the broker was out of reach, and its lease must not run out under the job"
            return o.Interrupted(StoredError("interrupted", text))
        case _:
            return o.Crashed(crash(), alone=True)
