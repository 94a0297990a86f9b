"""What becomes of the jobs of a runner that has ended.

Three cases: it was killed for culprits, who get their own outcome under the fence that they ran
with, while their neighbours are released uncharged; it was stopped, which charges nobody; it
crashed or stood still, which makes every job that it ran a suspect.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from penstock.core.ids import AttemptKey, JobId
from penstock.core.job import Claimed, StoredError
from penstock.core.lifecycle import State
from penstock.core.outcome import Crashed, Interrupted, Outcome, TimedOut
from penstock.core.pace import pace_sums, tells_pace
from penstock.core.time_limits import limits_ms
from penstock.executors.process import ExitStatus

from .parts import Parts
from .runner_process import End, RunnerProcess
from .settling import Verdict

_log = logging.getLogger("penstock.worker")

#: Characters of a dead process's last stack that are kept with the job.
_STACK_CHARS_MAX: Final = 8_000


async def account_for(runner: RunnerProcess, status: ExitStatus, parts: Parts) -> None:
    """Settle everything that ran in a dead runner, then bury it.

    Returns once the broker has answered; until then the process stays a zombie and its lease its
    own, so that nobody else counts it as lost.
    """
    # Programs that its jobs started would go on working beside the next attempts.
    runner.process.kill()
    unsettled = await _settle_culprits(runner, parts)
    try:
        leases = parts.leases.forget(runner)
        if leases:
            of_all = _outcome_of_all(runner, status)
            await parts.reclaim.after_death(
                runner.pid, leases, lambda job: unsettled.get(job.id, of_all)
            )
    finally:
        runner.bury()


async def _settle_culprits(runner: RunnerProcess, parts: Parts) -> dict[JobId, Outcome]:
    """Settle whatever the runner was killed for; return what could not be settled, by job."""
    unsettled: dict[JobId, Outcome] = {}
    settled: set[AttemptKey] = set()
    # Race: another attempt can pass its limit, and join, while the first is being settled.
    while left := [one for one in runner.culprits if one not in settled]:
        for attempt in left:
            outcome = runner.culprits[attempt]
            try:
                await _settle_culprit(runner, attempt, outcome, parts)
            except Exception:  # noqa: BLE001 - the neighbours must not be left under this lease
                _log.exception("job %s is settled with its neighbours", attempt[0])
                unsettled[attempt[0]] = outcome
            settled.add(attempt)
    return unsettled


async def _settle_culprit(
    runner: RunnerProcess, attempt: AttemptKey, outcome: Outcome, parts: Parts
) -> None:
    """Settle the attempt that a runner was killed for, before its lease is closed.

    Before, because afterwards any worker may take the job over, and would not know its guilt.
    """
    job_id, fence = attempt
    record = await parts.link.insist(
        partial(parts.link.broker.get, job_id), what=f"reading job {job_id}"
    )
    if record is None or record.state is not State.RUNNING or runner.lease is None:
        return
    # Fence: the record only fills in what a decision needs; whether the attempt still counts is
    # decided by its fence when the settlement is written.
    job = Claimed(
        id=record.id,
        queue=record.queue,
        spec=record.spec,
        fence=fence,
        lease=runner.lease,
        claim_number=record.claim_number,
        claimed_at=record.attempts[-1].started_at if record.attempts else record.enqueued_at,
        charges=record.charges,
    )
    if isinstance(outcome, TimedOut):
        _learn_of_limit(job, parts)
    await parts.settler.settle([Verdict(job, outcome, runner.pid)])


def _learn_of_limit(job: Claimed, parts: Parts) -> None:
    """Take in that a plain run lasted to its hard limit; the runner that would tell is dead.

    Its thread was held for all that time: were it not learned, each job like it would hold the
    light lane again, and cost a runner.
    """
    task = parts.tasks.find(job.spec.task)
    if task is None or task.is_async or task.isolated:
        return
    _, hard_ms = limits_ms(job.spec, task, parts.settings)
    if tells_pace(hard_ms, parts.settings.light_runtime_max_ms, went_well=False):
        at_ms = parts.link.clock.wall_ms()
        parts.profiles.paced(task.name, pace_sums(hard_ms, None, side_by_side=1, at_ms=at_ms))


def _outcome_of_all(runner: RunnerProcess, status: ExitStatus) -> Outcome:
    match runner.end:
        case End.EVICTED:
            text = "its runner was killed because of another job"
            return Interrupted(StoredError("interrupted", text))
        case End.STOPPED:
            return Interrupted(
                StoredError("interrupted", "the worker stopped before the job ended")
            )
        case End.STALLED:
            text = f"runner {runner.pid} stood still and was killed"
            return Crashed(StoredError("crashed", text, _last_stack(runner)), alone=False)
        case _:
            text = f"runner {runner.pid} {status}"
            return Crashed(StoredError("crashed", text, _last_stack(runner)), alone=False)


def _last_stack(runner: RunnerProcess) -> str | None:
    return runner.read_stack()[-_STACK_CHARS_MAX:] or None
