"""One lone job from its claim to its settlement: a child is found, runs it, and is judged."""

from __future__ import annotations

import logging
from enum import IntEnum

from penstock.core import outcome as o
from penstock.core.job import Claimed, StoredError
from penstock.core.outcome import Outcome
from penstock.core.time_limits import limits_ms

from .child_calls import ChildCalls
from .child_pool import ChildPool
from .child_process import ChildFailed, ChildProcess, Mark
from .parts import Parts
from .settling import Verdict

_log = logging.getLogger("penstock.worker")


class Halt(IntEnum):
    """What an attempt was told; a later, stronger word wins."""

    NONE = 0
    CANCEL = 1
    """Its cancel was requested."""
    DRAIN = 2
    """The worker stops; the job may tidy up."""
    RELEASE = 3
    """The worker stops at once."""
    LOST = 4
    """The job belongs to another worker now."""


class LoneAttempt:
    """One attempt of one job in a child.

    Attributes:
        job: as claimed.
        child: where it runs; None while a child is being made.
    """

    def __init__(self, job: Claimed, parts: Parts, pool: ChildPool, calls: ChildCalls) -> None:
        """Prepare to run `job`."""
        self.job = job
        self.child: ChildProcess | None = None
        self._parts = parts
        self._pool = pool
        self._calls = calls
        self._halt = Halt.NONE

    def halt(self, why: Halt) -> None:
        """Cancel, interrupt or drop the attempt."""
        if why <= self._halt:
            return
        self._halt = why
        child, grace_ms = self.child, self._parts.settings.kill_grace_ms
        if child is None:
            return
        match why:
            case Halt.CANCEL:
                child.cancel(drain=False, grace_ms=grace_ms)
            case Halt.DRAIN:
                child.cancel(drain=True, grace_ms=grace_ms)
            case Halt.RELEASE:
                child.end(Mark.DRAIN)
            case Halt.LOST:
                child.end(Mark.LOST)

    async def run(self) -> None:
        """Run the job and settle it; returns once the broker has answered."""
        pid = None
        outcome: Outcome | None
        if self.job.flaw is not None:
            outcome = o.PayloadUnreadable(StoredError("payload_unreadable", self.job.flaw))
        else:
            outcome, pid = await self._run_in_child()
        if outcome is not None and self._halt is not Halt.LOST:
            await self._parts.settler.settle([Verdict(self.job, outcome, pid)])

    async def _run_in_child(self) -> tuple[Outcome | None, int | None]:
        if self._halt is not Halt.NONE:
            return _not_begun(self._halt), None
        try:
            child = await self._pool.take()
        except ChildFailed as failure:
            # Not the job's doing: it goes back.
            _log.error("no child for job %s: %s", self.job.id, failure.error.message)
            return o.Interrupted(failure.error), None
        if self._halt is not Halt.NONE:
            await self._pool.put_back(child)
            return _not_begun(self._halt), None
        self.child = child
        spec, settings = self.job.spec, self._parts.settings
        soft_ms, hard_ms = limits_ms(spec, self._parts.tasks.find(spec.task), settings)
        outcome = await child.run(
            self.job,
            self._calls,
            soft_ms=soft_ms,
            hard_ms=hard_ms,
            grace_ms=settings.kill_grace_ms,
        )
        # What a killed child started is gone before the settlement lets the job run again.
        await self._pool.put_back(child)
        return outcome, child.pid


def _not_begun(why: Halt) -> Outcome | None:
    match why:
        case Halt.LOST:
            return None
        case Halt.CANCEL:
            return o.CancelledByRequest(StoredError("cancelled", "its cancel was requested"))
        case _:
            return o.Interrupted(StoredError("interrupted", "the worker stopped before it began"))
