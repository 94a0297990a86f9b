"""Exit codes, and which error ends with which: one table.

Source: 2 for usage is the shell's habit, 69 and 78 are EX_UNAVAILABLE and EX_CONFIG of sysexits.h,
130 and 141 are 128 + SIGINT and 128 + SIGPIPE.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from penstock import errors as e


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """What was asked for was tried and did not work: a job that ended dead, a timeout."""
    USAGE = 2
    """The command line, or the user's own module, is wrong; nothing was done."""
    NOT_FOUND = 3
    """No such job, queue or task."""
    REFUSED = 4
    """The state of things forbids it: wrong state, limit reached, key taken, not confirmed."""
    UNAVAILABLE = 69
    """The broker could not be reached; the message says whether something may be written."""
    CONFIGURATION = 78
    """A setting from the environment or a file is wrong, or the broker needs a newer Penstock;
    nothing was done, and trying again will not help."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """The reader of the output went away."""


class Misconfigured(e.BadSetting):
    """A setting from the environment or a configuration file breaks its rule."""


class NotFound(e.UsageError):
    """What the command line names does not exist: a queue, a folder, a worker."""


class Declined(e.UsageError):
    """What was asked for is forbidden as things stand, or was not confirmed; nothing was done."""


class OutputLost(e.PenstockError):
    """Standard output took no more; what the command did stays done.

    Attributes:
        job_id: the job that was accepted before, None where there is none.
    """

    def __init__(self, message: str, *, job_id: str | None = None) -> None:
        """Keep both."""
        super().__init__(message)
        self.job_id = job_id


class PipeClosed(Exception):
    """The reader of the output is gone; there is nobody to tell anything to."""


#: Error class -> exit code; the first row that fits decides, so subclasses stand first.
EXITS: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (Misconfigured, Exit.CONFIGURATION),
    (e.NewerSchema, Exit.CONFIGURATION),
    (NotFound, Exit.NOT_FOUND),
    (e.UnknownTask, Exit.NOT_FOUND),
    (e.JobNotFound, Exit.NOT_FOUND),
    (Declined, Exit.REFUSED),
    (e.InvalidTransition, Exit.REFUSED),
    (e.UsageError, Exit.USAGE),
    (e.Unavailable, Exit.UNAVAILABLE),
    (e.OutcomeUnknown, Exit.UNAVAILABLE),
    (e.BrokerError, Exit.REFUSED),
    (e.PenstockError, Exit.FAILED),
    (PipeClosed, Exit.PIPE_CLOSED),
    (KeyboardInterrupt, Exit.INTERRUPTED),
)


def exit_of(error: BaseException) -> Exit:
    """Return the code that a command ends with after `error`."""
    return next((code for kind, code in EXITS if isinstance(error, kind)), Exit.FAILED)
