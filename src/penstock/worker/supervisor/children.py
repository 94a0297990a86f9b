"""Lone jobs: claimed under the supervisor's own lease as slots allow, and run in children."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final

from penstock.broker.requests import BATCH_MAX, ClaimAnswer, ClaimRequest, Offer
from penstock.core.ids import AttemptKey, Fence, JobId, LeaseId
from penstock.core.job import Claimed
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import retry_wait_s

from .child_calls import ChildCalls
from .child_pool import ChildPool
from .crew import Crew
from .lone_attempt import Halt, LoneAttempt
from .offers import Offers
from .parts import Parts
from .runners import Runners

_log = logging.getLogger("penstock.worker")


class Children:
    """Claims jobs that run alone, and answers for the supervisor's own lease.

    Attributes:
        bell: rung by the broker's wake-up, by yielded slots and by attempts that end.
        moved_at_ms: boot time at which the claim loop last moved.
        attempts: under way, by job.
        is_due_soon: at the last look a waiting job was due within one poll.
    """

    def __init__(
        self, parts: Parts, runners: Runners, pool: ChildPool, crew: Crew,
        *, wake_token: str | None,
    ) -> None:  # fmt: skip
        """Run attempts in tasks of `crew`; `wake_token` is where the broker tells of new jobs."""
        self._parts = parts
        self._runners = runners
        self._pool = pool
        self._crew = crew
        self._wake_token = wake_token
        self._offers = Offers(parts.settings.queues)
        self._calls = ChildCalls(parts.link)
        self._unanswered: ClaimRequest | None = None
        self.bell = runners.yielded_bell
        self.moved_at_ms = parts.link.clock.boot_ms()
        self.attempts: dict[JobId, LoneAttempt] = {}
        self.is_due_soon = False

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs and no claim is out that may bring something."""
        return not self.attempts and self._unanswered is None

    async def run(self) -> None:
        """Claim whenever a lone job waits and a slot is free, for ever."""
        failures = 0
        while True:
            try:
                wait_ms = await self._turn()
                failures = 0
            except (Unavailable, OutcomeUnknown):
                failures += 1
                wait_ms = round(retry_wait_s(failures) * 1000)
            self.moved_at_ms = self._parts.link.clock.boot_ms()
            if wait_ms:
                await self.bell.sleep(wait_ms / 1000)

    async def _turn(self) -> int:
        """Claim once if possible; return how long to sleep, 0: go on at once."""
        poll_ms = self._parts.settings.poll_ms
        slots = self._parts.slots
        if self._unanswered is None:
            if self._is_shut():
                self._runners.want_children(slots.children)
                return poll_ms
            # Race: the token first, then the look, so that no job comes in unseen between the two.
            due_ms = await self._leave_token()
            self.is_due_soon = due_ms is not None and due_ms <= poll_ms
            if not await self._look():
                self._runners.want_children(slots.children)
                return poll_ms if due_ms is None else min(poll_ms, due_ms + 1)
            self._runners.want_children(slots.children + max(1, slots.children))
            # A job is claimed only once there is a child for it: until then any worker may have it.
            self._pool.prepare(slots.free())
            # Race: the worker may have been told to stop while the broker was asked.
            if self._is_shut() or min(slots.free(), self._pool.idle) == 0:
                return poll_ms
        limit = min(slots.free(), self._pool.idle, BATCH_MAX)
        answer = await self._claim(self._offers.waiting(), limit)
        for job in answer.jobs:
            self._begin(job)
        if not answer.lease_open:
            self._parts.leases.bell.ring()
            return poll_ms
        return 0 if answer.jobs else poll_ms

    def _is_shut(self) -> bool:
        return self._parts.stopping.is_quiet or self._parts.stopping.drain.is_set()

    async def _leave_token(self) -> int | None:
        """Ask to be woken for lone jobs; return when the next job of the queues is due."""
        link = self._parts.link
        request = ClaimRequest(
            lease=self._parts.leases.own,
            offers=self._offers.to_be_woken(),
            limit=1,
            fence=Fence(secrets.token_hex(16)),
            wake_token=self._wake_token,
        )
        return (await link.ask(link.broker.claim(request))).next_due_in_ms

    async def _look(self) -> bool:
        """Return whether a lone job waits in any queue served."""
        link = self._parts.link
        needs = await link.ask(link.broker.needs(self._parts.settings.queues))
        return self._offers.learn(needs)

    async def _claim(self, offers: tuple[Offer, ...], limit: int) -> ClaimAnswer:
        # Fence: a call whose reply was lost is repeated as it was, else what it took would run
        # under this lease with a fence that nobody knows.
        request, is_first = self._unanswered, self._unanswered is None
        if request is None:
            request = ClaimRequest(
                lease=self._parts.leases.own,
                offers=offers,
                limit=limit,
                fence=Fence(secrets.token_hex(16)),
            )
        self._unanswered = request
        try:
            answer = await self._parts.link.ask(self._parts.link.broker.claim(request))
        except Unavailable:
            if is_first:
                # Nothing was taken, and no earlier try can have taken anything.
                self._unanswered = None
            raise
        self._unanswered = None
        return answer

    def _begin(self, job: Claimed) -> None:
        attempt = LoneAttempt(job, self._parts, self._pool, self._calls)
        if job.lease != self._parts.leases.own:
            # Race: the lease was lost while its claim was under way.
            attempt.halt(Halt.LOST)
        elif self._parts.stopping.drain.is_set():
            # Race: claimed before the worker was told to end, and here after it.
            attempt.halt(Halt.RELEASE)
        self.attempts[job.id] = attempt
        self._parts.slots.take()
        self._crew.send(f"job {job.id}", self._run(attempt))

    async def _run(self, attempt: LoneAttempt) -> None:
        try:
            await attempt.run()
        finally:
            self._parts.slots.give_back()
            self.attempts.pop(attempt.job.id, None)
            self.bell.ring()

    def renewed(self, lease: LeaseId, lost: LeaseId) -> None:
        """Drop what runs under the lost lease; the next claims are made under the new one."""
        _log.debug("lone jobs are claimed under lease %s now", lease)
        self._unanswered = None
        for attempt in self.attempts.values():
            if attempt.job.lease == lost:
                attempt.halt(Halt.LOST)

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
        """Let attempts finish for `grace_ms`, then interrupt and release them; all at once if told.

        Returns once every attempt is settled, and what a claim took that was under way has gone
        back: else it would stay running under a lease that is closed at the end, and the next
        worker would take it for a crash.
        """
        # What is left of a claim is asked for at once, by `run`.
        self.bell.ring()
        release = asyncio.create_task(self._parts.stopping.release.wait())
        loop = asyncio.get_running_loop()
        end_s = loop.time() + grace_ms / 1000
        try:
            while not self.is_at_rest and not release.done() and loop.time() < end_s:
                await self.bell.sleep(min(_LOOK_S, max(0.0, end_s - loop.time())))
            for attempt in self.attempts.values():
                attempt.halt(Halt.RELEASE if release.done() else Halt.DRAIN)
            while not self.is_at_rest:
                if release.done():
                    for attempt in self.attempts.values():
                        attempt.halt(Halt.RELEASE)
                await self.bell.sleep(_LOOK_S)
        finally:
            release.cancel()


#: Seconds between two looks at the attempts of a draining worker.
_LOOK_S: Final = 0.05
