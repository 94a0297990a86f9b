"""What follows from an outcome. Pure: brokers enforce what is decided here, and nothing else.

The rules of charging, in one place:

- an exception, a time limit or an asked-for retry charges one error;
- a crash charges one crash if the job was alone in its process; three, each within 72 hours of the
  one before, make it poison; in a shared runner a crash charges nothing and makes the job a
  suspect, whose next attempt runs alone in a child;
- an attempt that ran out of memory is tried again with a larger reservation, up to the largest
  worker's budget and twice at most; one that ran out of a GPU's memory with a larger part of one,
  up to the largest device, and if it was given none, that is its own error;
- a loss without a witness marks the job the first time, makes a marked one a suspect, and charges
  a job that already ran alone;
- a kill of the kernel for want of memory, within the job's own limit, marks the job; that it is
  marked makes the next one out of memory (`core/memory.py`);
- a drain, a neighbour's limit and a snooze charge nothing;
- what cannot run at all (unknown task or missing key after its snoozes, unreadable payload) is
  buried.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from penstock.core import outcome as o
from penstock.core import settlement as s
from penstock.core.demand import with_gpu_memory
from penstock.core.job import ALONE, Charges, Claimed, JobSpec, Reason
from penstock.core.memory import enlarged_bytes
from penstock.core.need import is_alone, same_demand, sized_need
from penstock.core.retry import (
    CRASH_WINDOW_MS,
    POLICY_DEFAULT,
    UNKNOWN_TASK_SNOOZE_MS,
    UNKNOWN_TASK_SNOOZES_MAX,
    RetryPolicy,
)
from penstock.core.usage import Usage


def decide(
    job: Claimed,
    outcome: o.Outcome,
    *,
    policy: RetryPolicy = POLICY_DEFAULT,
    random_unit: float,
    pid: int | None = None,
    usage: Usage | None = None,
) -> s.Settlement:
    """Return the settlement that follows from `outcome`.

    Args:
        job: the job as claimed or reclaimed; its spec's `retries` wins over the policy's.
        outcome: how the attempt ended.
        policy: the task's policy; the default where the task is not known.
        random_unit: a number in [0, 1) for the backoff's jitter, drawn by the caller.
        pid: process in which user code ran; None: the process that claimed.
        usage: what the attempt was measured to take; kept as it is.

    Cost: one allocation, the settlement, for the common case `Succeeded`.
    """
    if isinstance(outcome, o.Succeeded):
        return s.Complete(
            id=job.id,
            fence=job.fence,
            outcome="succeeded",
            pid=pid,
            usage=usage,
            result=outcome.result,
        )
    return _Rules(job, outcome, policy, random_unit, pid, usage).apply()


class _Rules:
    """The rules for every outcome but success; one instance decides once."""

    def __init__(
        self,
        job: Claimed,
        outcome: o.Unsuccessful,
        policy: RetryPolicy,
        random_unit: float,
        pid: int | None,
        usage: Usage | None,
    ) -> None:
        self.job = job
        self.outcome = outcome
        self.policy = policy
        self.random_unit = random_unit
        self.pid = pid
        self.usage = usage
        self.name = o.outcome_name(outcome)
        self.error = outcome.error

    def apply(self) -> s.Settlement:
        """Return the settlement; the match is exhaustive and mypy checks that it stays so."""
        charges = self.job.charges
        match self.outcome:
            case o.Failed(retryable=False):
                return self._bury(Reason.NOT_RETRYABLE, _charge_error(charges))
            case o.Failed() | o.TimedOut() | o.RetryAsked():
                return self._after_error()
            case o.SnoozeAsked(delay_ms=delay_ms):
                return self._snooze(delay_ms, charges)
            case o.Discarded() | o.CancelledByRequest():
                return self._cancel()
            case o.Crashed() | o.Lost() as outcome:
                return self._after_death(outcome)
            case o.OutOfMemory() as outcome:
                return self._after_out_of_memory(outcome)
            case o.Interrupted(bystander=bystander):
                marked = msgspec.structs.replace(charges, bystander=True)
                return self._release(marked if bystander else charges)
            case o.DoesNotFit(need=need):
                return self._release(charges, need)
            case o.TaskUnknown() | o.KeyMissing() as outcome:
                return self._after_unprepared(outcome)
            case o.PayloadUnreadable():
                return self._bury(Reason.BAD_PAYLOAD, charges)
            case o.ResultUnwritable():
                return self._bury(Reason.RESULT_REFUSED, _charge_error(charges))
        assert_never(self.outcome)

    def _after_error(self) -> s.Settlement:
        after_ms = self.outcome.after_ms if isinstance(self.outcome, o.RetryAsked) else None
        charges = _charge_error(self.job.charges)
        retries = self.policy.retries if self.job.spec.retries is None else self.job.spec.retries
        if charges.errors > retries:
            return self._bury(Reason.RETRIES_EXHAUSTED, charges)
        return self._retry(charges, charges.errors, after_ms)

    def _after_death(self, outcome: o.Crashed | o.Lost) -> s.Settlement:
        # Cases: alone -> charged; a crash seen in a shared runner -> suspect; lost unseen for the
        # first time -> marked; lost unseen again -> suspect. Only the first is charged.
        old = self.job.charges
        if not outcome.alone:
            if isinstance(outcome, o.Crashed) or old.lost:
                return self._release(msgspec.structs.replace(old, suspect=True))
            return self._release(msgspec.structs.replace(old, lost=True))
        # The next attempt stays alone: one crash has shown that this job can kill its process.
        is_aged = old.crashed_at is not None and (
            self.job.claimed_at - old.crashed_at > CRASH_WINDOW_MS
        )
        charges = msgspec.structs.replace(
            old,
            crashes=old.crashes + 1,
            crashes_aged=old.crashes if is_aged else old.crashes_aged,
            crashed_at=self.job.claimed_at,
            suspect=True,
        )
        recent = charges.crashes - charges.crashes_aged
        if recent >= self.policy.crashes_max:
            return self._bury(Reason.POISON, charges)
        return self._retry(charges, recent, None)

    def _after_out_of_memory(self, outcome: o.OutOfMemory) -> s.Settlement:
        if outcome.of_gpu and not outcome.reserved_bytes:
            return self._after_error()
        enlarged = enlarged_bytes(outcome.reserved_bytes, outcome.largest_bytes)
        charges = msgspec.structs.replace(self.job.charges, ooms=self.job.charges.ooms + 1)
        if enlarged is None and outcome.of_gpu and charges.ooms == 1:
            # It had the largest device there is, and maybe not alone: what others had left there is
            # gone by its next attempt, which begins in a new child.
            enlarged = outcome.reserved_bytes
        if enlarged is None:
            return self._bury(Reason.TOO_LARGE, charges)
        if charges.ooms > self.policy.oom_retries:
            return self._bury(Reason.OUT_OF_MEMORY, charges)
        field = "gpu_memory_bytes" if outcome.of_gpu else "memory_bytes"
        charges = msgspec.structs.replace(charges, **{field: enlarged})
        # Not the job's error, and nothing to wait for: it goes on where it fits.
        return self._retry(charges, charges.ooms, after_ms=0)

    def _after_unprepared(self, outcome: o.TaskUnknown | o.KeyMissing) -> s.Settlement:
        """Wait for a worker that knows the task, or has the key; both come with a deploy."""
        seen = self.job.charges.unknown_task
        if seen >= UNKNOWN_TASK_SNOOZES_MAX:
            is_unknown = isinstance(outcome, o.TaskUnknown)
            reason = Reason.UNKNOWN_TASK if is_unknown else Reason.KEY_MISSING
            return self._bury(reason, self.job.charges)
        charges = msgspec.structs.replace(self.job.charges, unknown_task=seen + 1)
        return self._snooze(UNKNOWN_TASK_SNOOZE_MS, charges)

    def _retry(self, charges: Charges, failures: int, after_ms: int | None) -> s.Settlement:
        delay_ms = after_ms
        if delay_ms is None:
            delay_ms = self.policy.backoff.delay_ms(failures, self.random_unit)
        return s.Retry(
            id=self.job.id,
            fence=self.job.fence,
            outcome=self.name,
            pid=self.pid,
            usage=self.usage,
            error=self.error,
            delay_ms=delay_ms,
            charges=charges,
            need=_need_after(self.job.spec, charges),
        )

    def _release(self, charges: Charges, need: str | None = None) -> s.Settlement:
        return s.Release(
            id=self.job.id,
            fence=self.job.fence,
            outcome=self.name,
            pid=self.pid,
            usage=self.usage,
            error=self.error,
            charges=charges,
            need=need or _need_after(self.job.spec, charges),
        )

    def _bury(self, reason: Reason, charges: Charges) -> s.Settlement:
        return s.Bury(
            id=self.job.id,
            fence=self.job.fence,
            outcome=self.name,
            pid=self.pid,
            usage=self.usage,
            error=self.error,
            reason=reason,
            charges=charges,
        )

    def _snooze(self, delay_ms: int, charges: Charges) -> s.Settlement:
        return s.Snooze(
            id=self.job.id,
            fence=self.job.fence,
            outcome=self.name,
            pid=self.pid,
            usage=self.usage,
            error=self.error,
            delay_ms=delay_ms,
            charges=charges,
            need=_need_after(self.job.spec, charges),
        )

    def _cancel(self) -> s.Settlement:
        discarded = isinstance(self.outcome, o.Discarded)
        return s.Cancel(
            id=self.job.id,
            fence=self.job.fence,
            outcome=self.name,
            pid=self.pid,
            usage=self.usage,
            error=self.error,
            reason=Reason.DISCARDED if discarded else Reason.BY_OPERATOR,
            charges=self.job.charges,
        )


def _charge_error(charges: Charges) -> Charges:
    return msgspec.structs.replace(charges, errors=charges.errors + 1)


def _need_after(spec: JobSpec, charges: Charges) -> str | None:
    """Return the ready set of the next attempt; None: the one that the spec names."""
    own = with_gpu_memory(spec.need, charges.gpu_memory_bytes)
    if charges.memory_bytes is not None:
        return same_demand(sized_need(charges.memory_bytes), own)
    if own != spec.need:
        return own
    # What is isolated anyhow keeps its own set, whose name tells what it takes.
    return ALONE if charges.suspect and not is_alone(spec.need) else None
