"""One lone job from its claim to its verdict: a child is found, runs it, and is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from penstock.core import outcome as o
from penstock.core.job import Claimed, StoredError
from penstock.core.memory import hard_limit_bytes
from penstock.core.memory_curve import MemoryCurve
from penstock.core.outcome import Outcome
from penstock.core.time_limits import limits_ms
from penstock.core.usage import Usage
from penstock.executors.memory import resident_bytes
from penstock.worker.error_text import stored_error

from .child_calls import ChildCalls
from .child_end import ChildFailed, Mark
from .child_kinds import PLAIN, ChildKind
from .child_pool import ChildPool
from .child_process import ChildProcess
from .crew import Crew
from .grants import Grant, Misfit
from .halt import Halt, not_begun, tell
from .lessons import learn
from .making import Making
from .memory_verdict import judged
from .opening import opened
from .parts import Parts
from .settling import Verdict
from .takings import usage_of


class LoneAttempt:
    """One attempt of one job in a child.

    Attributes:
        job: as claimed.
        child: where it runs; None before and after.
        grant: the memory that it is given; None before.
        sampled_bytes: the most that it was seen to take, all its processes together.
        told: the strongest word that it was told.
        has_begun: whether a child was given the job.
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
        self._ooms_before = self._began_ms = self._idle_bytes = 0
        self._usage: Usage | None = None
        self.grant: Grant | None = None
        self.sampled_bytes = 0
        self._curve = MemoryCurve()
        self.told, self.has_begun = Halt.NONE, False
        self._making: Making | None = None

    def begin(self, on_end: OnEnd) -> None:
        """Run the job; `on_end` is told once how its attempt ended, maybe before this returns.

        Where this raises, the caller says `fail`, or nobody ever settles the job.
        """
        self._on_end = on_end
        if self.job.flaw is not None:
            self._end(o.PayloadUnreadable(StoredError("payload_unreadable", self.job.flaw)))
        elif self.told is not Halt.NONE:
            self._end(not_begun(self.told))
        elif (flaw := self._open() or self._reserve()) is not None:
            self._end(flaw)
        else:
            child = self._pool.pick(self._kind, self.job.spec.task)
            if child is not None:
                self._begin_in(child)
            else:
                self._making = Making(self._pool, self._kind)
                self._crew.send(f"job {self.job.id}", self._begin_in_new(self._making))

    def _open(self) -> Outcome | None:
        """Put the job's secret arguments in their places; return what is in the way."""
        found = opened(self.job, self._parts.seal)
        if not isinstance(found, Claimed):
            return found
        self._opened = found
        return None

    def _reserve(self) -> Outcome | None:
        """Have memory set aside; return what is to become of the job where there is none for it."""
        warm = self._pool.warm_devices(self.job.spec.task)
        grant = self._parts.budget.grant(self.job, warm=warm)
        if isinstance(grant, Misfit):
            # Kept with the attempt: what its task declares the broker is not told elsewhere.
            self._usage = Usage(reserved_bytes=grant.needed_bytes)
            return o.DoesNotFit(StoredError("does_not_fit", grant.text), grant.need)
        self.grant = grant
        return None

    @property
    def _kind(self) -> ChildKind:
        grant = self.grant
        if grant is None:
            return PLAIN
        share = 0 if grant.is_whole else grant.gpu_memory_bytes
        return ChildKind(grant.threads, grant.devices, share)

    def saw(self, held_bytes: int) -> None:
        """Take in what its processes hold together now."""
        self.sampled_bytes = max(self.sampled_bytes, held_bytes)
        self._curve.add(self._parts.link.clock.boot_ms() - self._began_ms, held_bytes)

    def exceed(self, held_bytes: int) -> None:
        """End the attempt: it holds more than its limit allows."""
        self.saw(held_bytes)
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
            self._part(child, outcome, self._pool.bury)

    def halt(self, why: Halt) -> None:
        """Cancel, interrupt or drop the attempt."""
        if why <= self.told:
            return
        self.told = why
        if self.child is not None:
            tell(self.child, why, self._parts.settings.kill_grace_ms)
        elif self._making is not None:
            self._making.give_up()

    async def _begin_in_new(self, making: Making) -> None:
        """Begin in a child that is made now: no idle one suits the job, or the last has died."""
        try:
            child = await making.child()
        except ChildFailed as failure:
            if self.told is not Halt.NONE:
                self._end(not_begun(self.told))
                return
            # Not the job's doing: it goes back.
            self._pool.failed(failure)
            self._end(o.Interrupted(failure.error))
        except Exception as error:
            self.fail(error)
            raise
        else:
            self._pool.worked()
            self._begin_in_made(child)

    def _begin_in_made(self, child: ChildProcess) -> None:
        if self.told is not Halt.NONE:
            self._pool.put_back(child)
            self._end(not_begun(self.told))
            return
        try:
            self._begin_in(child)
        except Exception as error:
            self.fail(error)
            raise

    def _begin_in(self, child: ChildProcess) -> None:
        self.child, self._making = child, None
        self.has_begun = True
        self._pool.kinds.begins(child, self.job.spec.task)
        spec, settings = self.job.spec, self._parts.settings
        soft_ms, hard_ms = limits_ms(spec, self._parts.tasks.find(spec.task), settings)
        given, self._opened = self._opened, self.job
        self._ooms_before = self._parts.ooms.lately()
        self._began_ms = self._parts.link.clock.boot_ms()
        self._limit_memory(child)
        child.begin(
            given,
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
        self._idle_bytes = resident_bytes(child.pid)
        if group is not None and not group.begin(hard_limit_bytes(limit), self._idle_bytes):
            # The cache of the job before goes first, and the loop must not wait for it.
            self._crew.send(f"limit of job {self.job.id}", asyncio.to_thread(group.enforce))

    def _over(self, outcome: Outcome | None) -> None:
        child = self.child
        assert child is not None  # noqa: S101 - who calls this
        outcome = self._with_memory(child, outcome)
        self._keep_for_bundle(outcome)
        # Race: another job may run in it before this one is settled, and a cancel still come.
        self.child = None
        # What ran out of a GPU's memory still holds what it got of it.
        is_spent = isinstance(outcome, o.OutOfMemory) and outcome.of_gpu
        if not child.is_usable or is_spent:
            self._part(child, outcome, self._pool.bury)
        elif child.family.left_behind(child.group):
            self._part(child, outcome, partial(self._pool.clear, who=f"job {self.job.id}"))
        else:
            self._pool.put_back(child)
            self._end(outcome, child.pid)

    def _part(self, child: ChildProcess, outcome: Outcome | None, how: Parting) -> None:
        """End once `how` has rid the child of what the job started: only then may it run again."""

        async def part() -> None:
            try:
                await how(child)
            finally:
                self._end(outcome, child.pid)

        self._crew.send(f"parting from child {child.pid}", part())

    def _with_memory(self, child: ChildProcess, outcome: Outcome | None) -> Outcome | None:
        """Tell running out of memory from a crash, and say what was taken and given."""
        taken = None if child.group is None else child.group.end()
        sampled, idle = self.sampled_bytes, self._idle_bytes
        usage = usage_of(sampled, self.grant, child.measured, taken, idle_bytes=idle)
        outcome, self._usage = judged(
            outcome,
            usage,
            child=child,
            grant=self.grant,
            budget=self._parts.budget,
            taken=taken,
            kernel_ooms=partial(self._parts.ooms.since, self._ooms_before),
            job=self.job,
        )
        run_ms = self._parts.link.clock.boot_ms() - self._began_ms
        learn(self._parts, self.job, child, usage, outcome, run_ms=run_ms)
        return outcome

    def _keep_for_bundle(self, outcome: Outcome | None) -> None:
        """Add to the usage what helps to reproduce an attempt that did not succeed."""
        if self._usage is not None and not isinstance(outcome, o.Succeeded):
            self._usage = msgspec.structs.replace(
                self._usage, curve=self._curve.points, runtime=self._parts.runtime
            )

    def _end(self, outcome: Outcome | None, pid: int | None = None) -> None:
        self._making = None
        self._parts.budget.give_back(self.job)
        if outcome is None or self.told is Halt.LOST:
            self._on_end(self, None)
        else:
            self._on_end(self, Verdict(self.job, outcome, pid, self._usage))


OnEnd = Callable[[LoneAttempt, Verdict | None], None]
"""Told how an attempt ended; None: the job belongs to another worker now."""
Parting = Callable[[ChildProcess], Coroutine[Any, Any, None]]
"""Rids a child of what its job has started, and the child itself where it must go."""


def _ignore_end(_attempt: LoneAttempt, _verdict: Verdict | None) -> None:
    """Nobody waits for it yet."""
