"""Why a running attempt is asked to stop; both executors speak of it in these words."""

from __future__ import annotations

from enum import IntEnum


class Stop(IntEnum):
    """Reasons to interrupt user code; a higher one wins over a lower one."""

    NONE = 0
    """Nothing was asked."""
    SOFT = 1
    """The soft time limit passed: SoftTimeLimit is raised once."""
    CANCEL = 2
    """The job's cancel was requested: CancelRequested is raised once."""
    DRAIN = 3
    """The worker stops: CancelRequested is raised once, and the job goes back to its queue."""
    HARD = 4
    """The hard time limit passed: whatever the attempt does now, it has timed out."""
