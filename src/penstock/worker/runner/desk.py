"""The attempts of a runner: starts claimed jobs, decides what follows from each end.

Invariant: an attempt is in `running` from its claim until its settlement is handed to the pump.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from penstock.core import outcome as o
from penstock.core.decision import decide
from penstock.core.ids import AttemptKey, LeaseId
from penstock.core.job import Claimed, StoredError
from penstock.core.outcome import Outcome
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Applied, Complete
from penstock.core.time_limits import SaysLimits, limits_ms
from penstock.executors.stop import Stop
from penstock.tasks.registry import Registration
from penstock.worker.attempt import AttemptPlan, run_attempt
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.runner.limits import Limits
from penstock.worker.runner.notes import NoteBook
from penstock.worker.runner.pump import Ended
from penstock.worker.runner.threads import Elsewhere, Threads
from penstock.worker.runner.witness import Witness

_log = logging.getLogger("penstock.runner")


class Desk:
    """What runs, what may run, and what has run.

    Args:
        plan: what all attempts share.
        notes: where attempts write their notes.
        limits: told of hard limits before the attempts start.
        hand_over: takes ended attempts: the pump.
        threads: slots of plain jobs.
        thread_freed: called when a plain attempt has ended.
        witness: told of starts and ends.

    Attributes:
        running: attempts under way.
        coroutines_max: `async def` jobs at once.
        threads: see above.
        default_limits: time limits where neither call nor task says any; None: none.
        settled: attempts whose settlement the broker has taken in.
        failed: of these, not completed.
        has_given_up: user code of a released attempt may still run.
    """

    def __init__(
        self,
        plan: AttemptPlan,
        notes: NoteBook,
        limits: Limits,
        hand_over: Callable[[Ended], None],
        threads: Threads,
        thread_freed: Callable[[], None],
        witness: Witness,
    ) -> None:
        self.running: dict[AttemptKey, RunnerAttempt] = {}
        self.coroutines_max = 0
        self.threads = threads
        self.default_limits: SaysLimits | None = None
        self.settled = 0
        self.failed = 0
        self.has_given_up = False
        self._plan = plan
        self._notes = notes
        self._limits = limits
        self._hand_over = hand_over
        self._thread_freed = thread_freed
        self._witness = witness
        self._loop = asyncio.get_running_loop()

    def free_coroutines(self) -> int:
        """Return how many coroutine slots are free."""
        return self.coroutines_max - (len(self.running) - self.threads.busy)

    def start(self, jobs: Iterable[Claimed]) -> None:
        """Start claimed jobs; one that does not belong here goes to the set where it does."""
        attempts: list[RunnerAttempt] = []
        for job in jobs:
            try:
                attempt = self._admit(job)
            except Exception:  # noqa: BLE001 - one job must not strand those claimed with it
                _log.exception("job %s (%s) cannot be started here", job.id, job.spec.task)
                self.send_back([job])
                continue
            if attempt is not None:
                attempts.append(attempt)
        watched = [attempt for attempt in attempts if attempt.hard_ms]
        if watched:
            self._limits.watch(watched)
        create_task = self._loop.create_task
        for attempt in attempts:
            attempt.task = create_task(self._run(attempt))
        self._witness.started(attempts)

    def _admit(self, job: Claimed) -> RunnerAttempt | None:
        """Count a job among those that run; None: it went where it belongs."""
        task = self._plan.find(job.spec.task)
        attempt = RunnerAttempt(job, self._notes, task)
        if task is not None:
            elsewhere = self._elsewhere(job, task)
            if elsewhere is not None:
                self._send_on(attempt, elsewhere)
                return None
            attempt.soft_ms, attempt.hard_ms = limits_ms(job.spec, task.limits, self.default_limits)
        self.running[attempt.key] = attempt
        if attempt.is_plain and task is not None:
            self.threads.begin(attempt, task)
        return attempt

    def interrupt(self, keys: Iterable[AttemptKey], stop: Stop) -> dict[AttemptKey, None]:
        """Interrupt those of these attempts that run here; return those that do not."""
        absent: dict[AttemptKey, None] = {}
        for key in keys:
            attempt = self.running.get(key)
            if attempt is None:
                absent[key] = None
            else:
                attempt.interrupt(stop)
        return absent

    def lose(self, lease: LeaseId) -> None:
        """Note that all attempts under this lease belong to others now; they run on, unheard."""
        for attempt in self.running.values():
            if attempt.job.lease == lease:
                attempt.lose("its lease was taken over")

    def send_back(self, jobs: Iterable[Claimed]) -> None:
        """Release jobs that were claimed but shall not start."""
        for job in jobs:
            self._release(RunnerAttempt(job, self._notes, None), _NOT_BEGUN)

    def release(self, attempts: Iterable[RunnerAttempt]) -> None:
        """Give attempts up while they still run: their jobs go back to the queue, uncharged."""
        for attempt in attempts:
            attempt.is_given_up = self.has_given_up = True
            error = StoredError("interrupted", "the worker stopped before the job ended")
            self._end(attempt, o.Interrupted(error))

    def told(self, ended: Sequence[Ended], applied: Sequence[Applied]) -> None:
        """Take in what became of settlements."""
        self.settled += len(ended)
        settled = self._witness.settled
        for (attempt, settlement), answer in zip(ended, applied, strict=True):
            if type(settlement) is not Complete:
                self.failed += 1
            settled(attempt, settlement, answer)

    async def _run(self, attempt: RunnerAttempt) -> None:
        outcome = await run_attempt(self._plan, attempt)
        if not attempt.is_given_up:
            self._end(attempt, outcome)

    def _end(self, attempt: RunnerAttempt, outcome: Outcome) -> None:
        task = attempt.registration
        policy = POLICY_DEFAULT if task is None else task.policy
        settlement = decide(attempt.job, outcome, policy=policy, random_unit=random.random())
        self._hand_over(Ended(attempt, settlement))
        del self.running[attempt.key]
        if attempt.is_plain:
            self.threads.end(attempt, is_success=type(outcome) is o.Succeeded)
            self._thread_freed()
        if attempt.hard_ms:
            self._limits.unwatch(attempt)

    def _elsewhere(self, job: Claimed, task: Registration) -> Elsewhere | None:
        """Return the ready set that the job belongs to, if it cannot start here."""
        if task.is_isolated:
            # It came from a program with another version of the task, or with none.
            spec = job.spec
            need = task.need(memory_bytes=spec.memory_bytes, memory_auto=False, size=spec.size)
            return Elsewhere(need, "its task runs in a child")
        return None if task.is_async else self.threads.elsewhere(task)

    def _send_on(self, attempt: RunnerAttempt, to: Elsewhere) -> None:
        self._release(attempt, o.DoesNotFit(StoredError("does_not_fit", to.why), to.need))

    def _release(self, attempt: RunnerAttempt, why: o.DoesNotFit | o.Interrupted) -> None:
        """Give a job back that did not start, with nothing charged."""
        settlement = decide(attempt.job, why, policy=POLICY_DEFAULT, random_unit=0.0)
        self._hand_over(Ended(attempt, settlement))


_NOT_BEGUN: Final = o.Interrupted(StoredError("interrupted", "it was claimed, and did not begin"))
