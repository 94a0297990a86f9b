"""Why an attempt in a child is told to end, and what becomes of one that has not begun."""

from __future__ import annotations

from enum import IntEnum

from penstock.core import outcome as o
from penstock.core.job import StoredError
from penstock.core.outcome import Outcome

from .child_end import Mark
from .child_process import ChildProcess


class Halt(IntEnum):
    """What an attempt was told; a later, stronger word wins."""

    NONE = 0
    CANCEL = 1
    """Its cancel was requested."""
    DRAIN = 2
    """The worker stops; the job may tidy up."""
    RELEASE = 3
    """The worker stops at once."""
    CUT_OFF = 4
    """The broker is out of reach, and the lease may run out."""
    LOST = 5
    """The job belongs to another worker now."""


def tell(child: ChildProcess, why: Halt, grace_ms: int) -> None:
    """Tell a child that its attempt is to end; a cancel and a drain are given `grace_ms`."""
    match why:
        case Halt.NONE:
            pass
        case Halt.CANCEL | Halt.DRAIN:
            child.cancel(drain=why is Halt.DRAIN, grace_ms=grace_ms)
        case Halt.RELEASE:
            child.end(Mark.DRAIN)
        case Halt.CUT_OFF:
            child.end(Mark.CUT_OFF)
        case Halt.LOST:
            child.end(Mark.LOST)


def not_begun(why: Halt) -> Outcome | None:
    """Return how an attempt ended that was told so before it began; None: it is another's."""
    match why:
        case Halt.LOST:
            return None
        case Halt.CANCEL:
            return o.CancelledByRequest(StoredError("cancelled", "its cancel was requested"))
        case Halt.CUT_OFF:
            text = "its claim was answered when the lease was about to run out: it did not begin"
            return o.Interrupted(StoredError("interrupted", text))
        case _:
            return o.Interrupted(StoredError("interrupted", "the worker stopped before it began"))
