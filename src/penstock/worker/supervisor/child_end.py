"""How an attempt in a child ended: by what the child said, and why it was killed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from penstock.core import outcome as o
from penstock.core.job import StoredError
from penstock.core.outcome import Outcome


class Mark(StrEnum):
    """Why the supervisor ended an attempt; the first reason given stands."""

    TIME_LIMIT = "time_limit"
    CANCEL = "cancel"
    DRAIN = "drain"
    CUT_OFF = "cut_off"
    """The broker cannot be reached, and the job must not outlive its lease."""
    LOST = "lost"
    """The job belongs to another worker now; nothing is settled."""


def judge(
    said: Outcome | None, mark: Mark | None, *, hard_ms: int, crash: Callable[[], StoredError]
) -> Outcome | None:
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
