"""Lone jobs: claimed under the supervisor's own lease as slots allow, and run in children.

Rounds settle and claim under load (`rounds.py`); the loop here looks for jobs and makes room for
them: slots, and children.

No job is claimed ahead of a free child, although that would hide the round trip: it would be stuck
behind a long job, and a worker that is lost would be charged for jobs that had never begun.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from penstock.broker.requests import BATCH_MAX, ClaimAnswer
from penstock.core.admission import Set
from penstock.core.ids import AttemptKey, JobId, LeaseId
from penstock.core.job import Claimed
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import retry_wait_s
from penstock.worker.queue_room import QueueRoom

from .child_calls import ChildCalls
from .child_kinds import may_be_plain
from .child_pool import ChildPool
from .claims import LOOK_AGAIN_S, Claims, LoneClaim
from .crew import Crew
from .cut_off import CutOff
from .door import Door
from .drained import drained
from .halt import Halt
from .lone_attempt import LoneAttempt
from .memory_watch import MemoryWatch
from .parts import Parts
from .rounds import Ends, Rounds
from .runners import Runners
from .settling import Verdict
from .wants import Wants

_log = logging.getLogger("penstock.worker")


class Children:
    """Claims jobs that run alone, and answers for the supervisor's own lease.

    Attributes:
        bell: rung by the broker's wake-up, by yielded slots, and when a claim came short.
        moved_at_ms: boot time at which the claim loop last moved.
        attempts: under way or not settled yet, by job.
        cut_off: ends those that must not outlive their lease.
        memory: ends those that pass their memory limit.
    """

    def __init__(
        self, parts: Parts, runners: Runners, pool: ChildPool, crew: Crew,
        *, wake_token: str | None,
    ) -> None:  # fmt: skip
        """Run attempts in tasks of `crew`; `wake_token` is where the broker tells of new jobs."""
        self._parts = parts
        self._pool = pool
        self._crew = crew
        self._calls = ChildCalls(parts.link, parts.seal)
        self._claims = Claims(
            parts.link,
            parts.leases,
            parts.settings.queues,
            poll_ms=parts.settings.poll_ms,
            wake_token=wake_token,
        )
        self._claims.room = QueueRoom(
            parts.settings.queues,
            parts.tasks.queue_limits,
            running=lambda: (one.job.queue for one in self._under_way()),
            claims=lambda: (one.request for one in self._claims.open),
        )
        self._claims.could_hold = parts.budget.counting.could_hold
        self._rounds = Rounds(
            parts, crew, self._claims, Ends(self._draw, self._begin, self._settled, self._move)
        )
        self._wants = Wants(parts, runners, pool, self._claims)
        pool.is_plain_wanted = lambda: may_be_plain(self._claims.sets)
        self._is_held_off = False
        self._door = Door(parts, pool, self._claims)
        self.memory = MemoryWatch(self._under_way)
        self.bell = runners.yielded_bell
        self.moved_at_ms = parts.link.clock.boot_ms()
        self.attempts: dict[JobId, LoneAttempt] = {}
        self.cut_off = CutOff(
            parts.leases,
            parts.tasks,
            parts.link.clock,
            lease_ttl_ms=parts.settings.lease_ttl_ms,
            attempts=self._under_way,
        )

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs and no claim is out that may bring something."""
        return not self.attempts and not self._claims.open

    @property
    def held_for(self) -> Set | None:
        """The ready set for which the worker holds itself free; None: it takes what fits."""
        return self._door.holder

    @property
    def is_due_soon(self) -> bool:
        """Whether, at the last look, a waiting job was due within one poll."""
        return self._claims.is_due_soon

    def _under_way(self) -> Iterable[LoneAttempt]:
        return self.attempts.values()

    async def run(self) -> None:
        """Claim whenever a lone job waits and a slot is free, for ever."""
        failures = 0
        while True:
            try:
                wait_ms = await self._turn()
                failures = 0
            except (Unavailable, OutcomeUnknown):
                failures += 1
                # Other workers of this host may have another broker, and go on.
                self._door.shut()
                wait_ms = round(retry_wait_s(failures) * 1000)
            self._move()
            if wait_ms:
                await self.bell.sleep(wait_ms / 1000)

    async def _turn(self) -> int:
        """Claim once if possible; return how long to sleep, 0: go on at once."""
        poll_ms = self._parts.settings.poll_ms
        if self._claims.left:
            answer = await self._claim(self._claims.left[0])
            return 0 if answer.lease_open else round(LOOK_AGAIN_S * 1000)
        if self._parts.stopping.is_shut:
            self._wants.no_more()
            self._door.shut()
            return poll_ms
        if self._claims.is_look_due(has_enough=self._wants.is_enough):
            wait_ms = await self._claims.look()
            self._wants.looked(lone_wait=wait_ms is None)
            if wait_ms is not None:
                self._wants.no_more()
                self._door.shut()
                return self._wants.turn_in_ms(wait_ms)
            if not self._wants.is_enough:
                await self._claims.count()
        self._wants.more()
        claim = self._draw()
        if claim is None:
            # Nobody rings when another worker of this host gives memory back.
            is_told = self._claims.is_seen and not self._door.waits_for_others
            wait_ms = poll_ms if is_told else min(poll_ms, round(LOOK_AGAIN_S * 1000))
            return self._wants.turn_in_ms(wait_ms)
        return 0 if (await self._claim(claim)).jobs else poll_ms

    def _draw(self, ended: int = 0) -> LoneClaim | None:
        """Return a claim for the children that are free, those of `ended` attempts among them."""
        # Race: the worker may have been told to stop while the broker was asked.
        if self._parts.stopping.is_shut:
            return None
        self._is_held_off = not self.cut_off.may_claim
        # Memory is short all over the machine; without a job of its own it is not by this worker.
        is_pressed = self._parts.pressure.is_high and bool(self.attempts)
        if self._is_held_off or is_pressed:
            self._door.shut()
            return None
        free = self._parts.slots.free(self._rounds.leaving + ended)
        room = self._door.room(min(free - self._claims.promised, BATCH_MAX))
        if room.jobs:
            claim = self._claims.draw(room.sets, room.jobs)
            if self._parts.budget.promise(claim, room.each):
                return claim
            self._claims.give_up(claim)
        self._parts.budget.publish()
        return None

    def _move(self) -> None:
        self.moved_at_ms = self._parts.link.clock.boot_ms()

    async def _claim(self, claim: LoneClaim) -> ClaimAnswer:
        answer = await self._claims.ask(claim)
        self._begin(claim, answer.jobs)
        return answer

    def _begin(self, claim: LoneClaim, jobs: Sequence[Claimed]) -> None:
        # What the claim was promised becomes what its jobs hold: others are told at the end only.
        self._parts.budget.keep_promised(self._claims.open)
        for job in jobs:
            attempt = LoneAttempt(job, self._parts, self._pool, self._calls, self._crew)
            attempt.halt(self._too_late(job))
            self.attempts[job.id] = attempt
            self._parts.slots.take()
            self.cut_off.bell.ring()
            self.memory.bell.ring()
            try:
                attempt.begin(self._over)
            except Exception as error:  # noqa: BLE001 - one job must not strand those claimed with it
                _log.exception("job %s (%s) cannot be started", job.id, job.spec.task)
                attempt.fail(error)
        # Race: a gate stays shut until the job that it is for has what it needs.
        self._door.passed(claim.sets)
        self._parts.budget.publish()

    def _too_late(self, job: Claimed) -> Halt:
        """Return why a job that has come may not begin any more. Race: all of it."""
        if job.lease != self._parts.leases.own:
            # The lease was lost while its claim was under way.
            return Halt.LOST
        if not self.cut_off.may_begin(job):
            # The answer came so late that the lease may be lost, and nobody knows yet.
            return Halt.CUT_OFF
        # Claimed before the worker was told to end, and here after it.
        return Halt.RELEASE if self._parts.stopping.drain.is_set() else Halt.NONE

    def _over(self, attempt: LoneAttempt, verdict: Verdict | None) -> None:
        if verdict is None:
            self._parts.slots.give_back()
            self._forget(attempt)
            self._parts.budget.publish()
            self.bell.ring()
        else:
            # Its slot is held until the round that settles it, which may claim for it.
            self._rounds.add(attempt, verdict)

    def _settled(self, attempts: Sequence[LoneAttempt], claim: LoneClaim | None) -> None:
        for attempt in attempts:
            self._forget(attempt)
        self._parts.budget.publish()
        # Race: a look during a round that claimed for nobody saw jobs, and no slot for them yet.
        may_wait = claim is not None and self._claims.may_wait
        is_kept = self._parts.slots.kept > 0
        if self._parts.stopping.is_shut or self._claims.left or is_kept or not may_wait:
            self.bell.ring()

    def _forget(self, attempt: LoneAttempt) -> None:
        # Race: the job may have been claimed here again by the call that settled it.
        if self.attempts.get(attempt.job.id) is attempt:
            del self.attempts[attempt.job.id]
        if self._claims.room.concerns(attempt.job.queue):
            # Its queue has room again, which no claim under way knows of.
            self.bell.ring()

    def renewed(self, lease: LeaseId, lost: LeaseId) -> None:
        """Drop what runs under the lost lease; the next claims are made under the new one."""
        _log.debug("lone jobs are claimed under lease %s now", lease)
        self._claims.forget_all()
        for attempt in self.attempts.values():
            if attempt.job.lease == lost:
                attempt.halt(Halt.LOST)

    def extended(self, lease: LeaseId, runs_out_ms: int) -> None:
        """Claim again, if the lease was thought to be about to run out."""
        del lease, runs_out_ms  # `Leases` keeps it
        if self._is_held_off:
            self._is_held_off = False
            self.bell.ring()

    def cancel(self, jobs: tuple[AttemptKey, ...]) -> None:
        """Cancel attempts, if they still run under these fences."""
        for job_id, fence in jobs:
            attempt = self.attempts.get(job_id)
            if attempt is not None and attempt.job.fence == fence:
                attempt.halt(Halt.CANCEL)

    def overrun(self, jobs: tuple[AttemptKey, ...]) -> None:
        """Cancel what was not there yet when its cancel came.

        Race: a cancel may overtake the answer of the claim. One that is ignored is no matter for
        here: a child is killed by its own timer.
        """
        self.cancel(jobs)

    async def drain(self, grace_ms: int) -> None:
        """Let attempts finish for `grace_ms`, then interrupt and release them (`drained`).

        What a claim took that was under way has gone back as well then: else it would stay running
        under a lease that is closed at the end, and the next worker would take it for a crash.
        """
        # What is left of a claim is asked for at once, by `run`.
        self.bell.ring()
        await drained(
            self.attempts,
            grace_ms=grace_ms,
            release=self._parts.stopping.release,
            is_at_rest=lambda: self.is_at_rest,
            bell=self.bell,
        )
