"""One lone job from its claim to its verdict: a child is found, runs it, and is judged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum

import msgspec

from penstock.core import outcome as o
from penstock.core.footprint import Run
from penstock.core.job import Claimed, StoredError
from penstock.core.memory import Evidence, evidence_text, hard_limit_bytes
from penstock.core.outcome import Outcome
from penstock.core.time_limits import limits_ms
from penstock.core.usage import Usage
from penstock.errors import SecretKeyMissing
from penstock.executors.memory import kernel_ooms, resident_bytes
from penstock.worker.error_text import stored_error

from .budget import Grant, Misfit
from .child_calls import ChildCalls
from .child_end import ChildFailed, Mark
from .child_pool import ChildPool
from .child_process import ChildProcess
from .crew import Crew
from .parts import Parts
from .settling import Verdict
from .takings import out_of_memory, usage_of

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
    CUT_OFF = 4
    """The broker is out of reach, and the lease may run out."""
    LOST = 5
    """The job belongs to another worker now."""


class LoneAttempt:
    """One attempt of one job in a child.

    Attributes:
        job: as claimed.
        child: where it runs; None before and after.
        grant: the memory that it is given; None before.
        sampled_bytes: the most that it was seen to take, all its processes together.
        told: the strongest word that it was told.
    """

    def __init__(
        self, job: Claimed, parts: Parts, pool: ChildPool, calls: ChildCalls, crew: Crew
    ) -> None:
        """Prepare to run `job`; what takes time besides is done in tasks of `crew`."""
        self.job = self._opened = job
        self.child: ChildProcess | None = None
        self._parts = parts
        self._pool = pool
        self._calls = calls
        self._crew = crew
        self._on_end: OnEnd = _ignore_end
        self._ooms_before = 0
        self._usage: Usage | None = None
        self.grant: Grant | None = None
        self.sampled_bytes = 0
        self.told = Halt.NONE

    def begin(self, on_end: OnEnd) -> None:
        """Run the job; `on_end` is told once how its attempt ended, maybe before this returns.

        Where this raises, the caller says `fail`, or nobody ever settles the job.
        """
        self._on_end = on_end
        if self.job.flaw is not None:
            self._end(o.PayloadUnreadable(StoredError("payload_unreadable", self.job.flaw)))
        elif self.told is not Halt.NONE:
            self._end(_not_begun(self.told))
        elif (flaw := self._open() or self._reserve()) is not None:
            self._end(flaw)
        else:
            child = self._pool.pick()
            if child is not None:
                self._begin_in(child)
            else:
                self._crew.send(f"job {self.job.id}", self._begin_in_new())

    def _open(self) -> Outcome | None:
        """Put the job's secret arguments in their places for its child; return what is in the way.

        A child holds no keys, and sees in the open what its own job is given and nothing else.
        """
        try:
            self._opened = self._parts.seal.opened(self.job)
        except SecretKeyMissing as error:
            return o.KeyMissing(stored_error(error))
        except Exception as error:  # noqa: BLE001 - as in a runner: no job is left without an end
            return o.PayloadUnreadable(stored_error(error))
        return None

    def _reserve(self) -> Outcome | None:
        """Have memory set aside; return what is to become of the job where there is none for it."""
        grant = self._parts.budget.grant(self.job)
        if isinstance(grant, Misfit):
            return o.DoesNotFit(StoredError("does_not_fit", grant.text), grant.need)
        self.grant = grant
        return None

    def exceed(self, held_bytes: int) -> None:
        """End the attempt: it holds more than its limit allows."""
        self.sampled_bytes = max(self.sampled_bytes, held_bytes)
        if self.child is not None:
            self.child.end(Mark.MEMORY)

    def fail(self, error: Exception) -> None:
        """Give the job back: it could not be begun, for a reason that nobody foresaw."""
        outcome, child = o.Interrupted(stored_error(error)), self.child
        self.child = None
        if child is None:
            self._end(outcome)
        else:
            # Nobody knows how far the child has come.
            self._crew.send(f"burying child {child.pid}", self._bury(child, outcome))

    def halt(self, why: Halt) -> None:
        """Cancel, interrupt or drop the attempt."""
        if why <= self.told:
            return
        self.told = why
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
            case Halt.CUT_OFF:
                child.end(Mark.CUT_OFF)
            case Halt.LOST:
                child.end(Mark.LOST)

    async def _begin_in_new(self) -> None:
        """Begin in a child that is made now: the last idle one has died meanwhile."""
        try:
            child = await self._pool.make()
        except ChildFailed as failure:
            # Not the job's doing: it goes back.
            _log.error("no child for job %s: %s", self.job.id, failure.error.message)
            self._end(o.Interrupted(failure.error))
        except Exception as error:
            self.fail(error)
            raise
        else:
            self._begin_in_made(child)

    def _begin_in_made(self, child: ChildProcess) -> None:
        if self.told is not Halt.NONE:
            self._pool.put_back(child)
            self._end(_not_begun(self.told))
            return
        try:
            self._begin_in(child)
        except Exception as error:
            self.fail(error)
            raise

    def _begin_in(self, child: ChildProcess) -> None:
        self.child = child
        spec, settings = self.job.spec, self._parts.settings
        soft_ms, hard_ms = limits_ms(spec, self._parts.tasks.find(spec.task), settings)
        opened, self._opened = self._opened, self.job
        self._ooms_before = kernel_ooms()
        self._limit_memory(child)
        child.begin(
            opened,
            self._calls,
            self._over,
            soft_ms=soft_ms,
            hard_ms=hard_ms,
            grace_ms=settings.kill_grace_ms,
        )

    def _limit_memory(self, child: ChildProcess) -> None:
        """Begin to measure, under a limit that the kernel keeps where it can."""
        grant, group = self.grant, child.group
        limit = None if grant is None else grant.limit_bytes
        child.wear.reserved_bytes = None if grant is None or limit is None else grant.reserved_bytes
        if group is not None and not group.begin(
            hard_limit_bytes(limit), resident_bytes(child.pid)
        ):
            # The cache of the job before goes first, and the loop must not wait for it.
            self._crew.send(f"limit of job {self.job.id}", asyncio.to_thread(group.enforce))

    def _over(self, outcome: Outcome | None) -> None:
        child = self.child
        assert child is not None  # noqa: S101 - who calls this
        outcome = self._with_memory(child, outcome)
        # Race: another job may run in it before this one is settled, and a cancel still come.
        self.child = None
        if child.is_usable:
            self._pool.put_back(child)
            self._end(outcome, child.pid)
        else:
            self._crew.send(f"burying child {child.pid}", self._bury(child, outcome))

    async def _bury(self, child: ChildProcess, outcome: Outcome | None) -> None:
        """Bury the child; what it started is gone before a settlement lets the job run again."""
        try:
            await self._pool.bury(child)
        finally:
            self._end(outcome, child.pid)

    def _with_memory(self, child: ChildProcess, outcome: Outcome | None) -> Outcome | None:
        """Tell running out of memory from a crash, and say what was taken and given."""
        grant, exited = self.grant, child.process.exited
        taken = None if child.group is None else child.group.end()
        kills = None if taken is None else taken.kills
        self._usage = usage = usage_of(self.sampled_bytes, grant, child.measured, taken)
        self._learn(child, usage, went_well=isinstance(outcome, o.Succeeded))
        if grant is None or not isinstance(outcome, o.OutOfMemory | o.Crashed | o.Failed):
            return outcome
        if isinstance(outcome, o.Failed) and not kills:
            # Otherwise a program of the job was killed for the memory of both, and told nobody why.
            return outcome
        is_marked = child.mark is Mark.MEMORY
        evidence = evidence_text(
            Evidence(
                mark=is_marked,
                raised=isinstance(outcome, o.OutOfMemory) and not is_marked,
                killed_by=exited.result().killed_by if exited.done() else None,
                kernel_ooms=kernel_ooms() - self._ooms_before,
                peak_bytes=usage.peak_bytes or 0,
                limit_bytes=grant.limit_bytes,
                group_kills=kills,
            )
        )
        if evidence is None:
            return outcome
        self._usage = msgspec.structs.replace(usage, evidence=evidence)
        return out_of_memory(
            evidence, self._usage, grant, self._parts.budget.largest_bytes, outcome.error.traceback
        )

    def _learn(self, child: ChildProcess, usage: Usage, *, went_well: bool) -> None:
        """Take in what the run took, and what the run before it has left in the child."""
        spec, profiles = self.job.spec, self._parts.profiles
        at_ms = self._parts.link.clock.wall_ms()
        if went_well and usage.peak_bytes is not None:
            profiles.ran(spec.task, Run(usage.peak_bytes, spec.size, at_ms))
        if usage.baseline_bytes is not None:
            grown = child.wear.begins(spec.task, usage.baseline_bytes)
            if grown is not None:
                profiles.grew(grown.task, grown.growth_bytes, at_ms)

    def _end(self, outcome: Outcome | None, pid: int | None = None) -> None:
        self._parts.budget.give_back(self.job)
        if outcome is None or self.told is Halt.LOST:
            self._on_end(self, None)
        else:
            self._on_end(self, Verdict(self.job, outcome, pid, self._usage))


OnEnd = Callable[[LoneAttempt, Verdict | None], None]
"""Told how an attempt ended; None: the job belongs to another worker now."""


def _ignore_end(_attempt: LoneAttempt, _verdict: Verdict | None) -> None:
    """Nobody waits for it yet."""


def _not_begun(why: Halt) -> Outcome | None:
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
