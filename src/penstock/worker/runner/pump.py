"""Carries settlements out and claimed jobs in, by as few round trips as the load allows.

A round settles all that has ended and claims for one feed, in one call. It starts as soon as there
is something to do; while it is under way, what ends gathers for the next one. So batches form by
themselves under load, and nothing waits for a timer when it could go now.

Over a server two rounds may be under way, each for at most half of the slots: it works on one while
the loop runs the jobs of the other. A further round starts only where it has enough to carry: what
ends one by one waits for the answer that is coming.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from penstock.broker.requests import ClaimAnswer, ClaimRequest
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import Claimed
from penstock.core.settlement import Applied, Settlement
from penstock.worker.batches import split_batch
from penstock.worker.dead_notices import DeadNotices
from penstock.worker.queue_room import QueueRoom
from penstock.worker.repeats import Settled, find_out
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.runner.carrier import Answers, Carrier
from penstock.worker.runner.feed import Feed
from penstock.worker.runner.notes import NoteBook
from penstock.worker.runner.round import Round

_log = logging.getLogger("penstock.runner")

#: A further round starts beside one under way where one in so many coroutine slots has ended or is
#: free, so that small batches do not chase each other.
_FURTHER_PART: Final = 4


class Ended(NamedTuple):
    """An attempt that has ended, and what was decided about it."""

    attempt: RunnerAttempt
    settlement: Settlement


class Ends(Protocol):
    """What stands at both ends of the pump."""

    def take(self, jobs: Sequence[Claimed], /) -> None:
        """Start claimed jobs."""
        ...

    def told(self, ended: Sequence[Ended], applied: Sequence[Applied], /) -> None:
        """Take in what became of settlements."""
        ...

    def rested(self) -> None:
        """Nothing is under way and nothing waits to be carried."""
        ...


class Pump:
    """The claim loop of a runner, without a loop: each event starts what can start.

    Args:
        carrier: makes the calls.
        notes: what must be written before the settlements of its attempts.
        dead_notices: what is enqueued after burials.
        lease: under which is claimed.
        poll_ms: slow poll, the safety net under wake-ups.
        rounds_at_once: how many may be under way.

    Attributes:
        lease: under which is claimed.
        feeds: set before `open`.
        room: of the queues.
        moved_at: when the broker last answered, or there was nothing to ask it; monotonic seconds.
    """

    def __init__(
        self,
        carrier: Carrier,
        notes: NoteBook,
        dead_notices: DeadNotices,
        lease: LeaseId,
        ends: Ends,
        *,
        poll_ms: int,
        rounds_at_once: int = 1,
    ) -> None:
        self.lease = lease
        self.feeds: tuple[Feed, ...] = ()
        self.room = QueueRoom()
        self.moved_at = time.monotonic()
        self._carrier = carrier
        self._notes = notes
        self._dead_notices = dead_notices
        self._ends = ends
        self._poll_s = poll_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        self._turn = 0
        self._outbox: list[Ended] = []
        self._rounds_at_once = rounds_at_once
        self._rounds: list[Round] = []
        self._kicked = False
        self._loop.call_later(self._poll_s, self._poll)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way and nothing waits to be carried."""
        return not self._rounds and not self._outbox

    @property
    def unsettled(self) -> int:
        """How many attempts have ended and are not known to be settled."""
        return len(self._outbox) + sum(len(one.batch) for one in self._rounds)

    def claims_for(self, need: str) -> bool:
        """Return whether a claim from this ready set is under way: its jobs may come any time."""
        return any(one.feed is not None and need in one.feed.needs for one in self._rounds)

    @property
    def claims(self) -> bool:
        """Whether any claim is under way."""
        return any(one.feed is not None for one in self._rounds)

    @property
    def open_claims(self) -> list[ClaimRequest | None]:
        """The claims under way."""
        return [one.claim for one in self._rounds]

    @property
    def is_cut_off(self) -> bool:
        """Whether the broker does not answer."""
        return self._carrier.is_cut_off

    @property
    def is_open(self) -> bool:
        """Whether jobs are claimed; else only what has ended is carried out."""
        return self._is_open

    def open(self) -> None:
        """Claim from now on."""
        self._is_open = self._carrier.claims = True
        self.look_again()

    def shut(self) -> None:
        """Claim no more; a claim that is under way may still bring jobs."""
        self._is_open = False
        self._carrier.refuse_claims()

    def abandon_claim(self) -> None:
        """Stop asking a broker that is away what became of a claim; nothing may be unsettled.

        What it took, if it took anything, is taken over once its lease is closed or has run out.
        """
        if self._carrier.is_cut_off and not self.unsettled:
            for task in [one.task for one in self._rounds if one.task is not None]:
                task.cancel()

    def renew(self, lease: LeaseId) -> None:
        """Claim under another lease from now on."""
        self.lease = lease
        self.look_again()

    def look_again(self) -> None:
        """Ask the broker again: something may be claimable that was not."""
        for feed in self.feeds:
            feed.wake()

    def add(self, ended: Ended) -> None:
        """Carry out a settlement, as soon as may be."""
        self._outbox.append(ended)
        if self.room.concerns(ended.attempt.job.queue):
            # A claim that left its queue out may have come back empty, and nobody else says so.
            self.look_again()
        self.kick()

    def kick(self, *, at_once: bool = False) -> None:
        """Start what can start, once the tasks that are ready now have had their turn.

        Args:
            at_once: a word came from the broker: start now where nothing is under way, and where it
                did not answer before, try again now.
        """
        if at_once:
            self._carrier.try_now()
        if at_once and not self._rounds and not self._kicked:
            self._start()
        elif not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._kicked = False
        while len(self._rounds) < self._rounds_at_once:
            feed = self._next_feed()
            if self._rounds and not self._is_worth_it(feed):
                return
            batch, self._outbox = split_batch(self._outbox, _job_of)
            if feed is None and not batch:
                break
            request = None if feed is None else self.room.limited(feed.request(self.lease))
            one = Round(batch, feed, request)
            self._rounds.append(one)
            one.task = self._loop.create_task(self._make_round(one, request))
        if not self._rounds:
            self._ends.rested()

    def _is_worth_it(self, feed: Feed | None) -> bool:
        """Return whether a further round may start beside those under way."""
        if feed is not None and not feed.is_asking:
            return True
        ready = len(self._outbox)
        if feed is not None and feed.is_flowing:
            ready = max(ready, feed.room())
        return bool(self.feeds) and ready * _FURTHER_PART >= self.feeds[0].slots()

    def _next_feed(self) -> Feed | None:
        """Return a feed that has room, in turn; one that asks already only while jobs flow."""
        if not self._is_open or not self.room.is_open():
            return None
        for _ in self.feeds:
            self._turn = (self._turn + 1) % len(self.feeds)
            feed = self.feeds[self._turn]
            if feed.room() and (feed.is_flowing or not feed.is_asking):
                return feed
        return None

    async def _make_round(self, one: Round, request: ClaimRequest | None) -> None:
        batch, feed = one.batch, one.feed
        has_notes = any(ended.attempt.has_notes for ended in batch)
        first = self._notes.write if has_notes and not self._notes.is_empty else None
        try:
            answers = await self._carrier.carry(
                [ended.settlement for ended in batch], request, first=first
            )
            self.moved_at = time.monotonic()
            is_doubtful = answers.is_doubtful and Applied.STALE in answers.applied
            if batch and not is_doubtful:
                self._tell(batch, answers)
                one.batch = []
            claimed = answers.claimed
            # Race: a lease that had run out gives nothing, not even what an earlier try has taken.
            is_repeated = answers.is_doubtful and claimed is not None and not claimed.lease_open
            if request is not None and not is_repeated:
                self._take(one, request, claimed)
                request = None
            if is_doubtful:
                # What was claimed does not wait for it: the broker may be away again.
                applied = await find_out(_settled(batch, answers), self._carrier.read)
                answers = answers._replace(applied=applied)
                self._tell(batch, answers)
                one.batch = []
            if batch:
                await self._dead_notices.send(_settled(batch, answers))
            if request is not None:
                self._take(one, request, await self._carrier.repeat(request))
                request = None
        except Exception:  # noqa: BLE001 - a defect in one round must not end all claiming
            _log.exception("a round of %d settlements failed", len(batch))
        finally:
            if feed is not None and request is not None:
                feed.answered(request, None)
            self._rounds.remove(one)
            self.kick()

    def _take(self, one: Round, request: ClaimRequest, claimed: ClaimAnswer | None) -> None:
        feed, one.feed = one.feed, None
        if feed is not None:
            feed.answered(request, claimed)
        if claimed is not None:
            self._ends.take(claimed.jobs)

    def _tell(self, batch: list[Ended], answers: Answers) -> None:
        made = zip(batch, answers.settlements, strict=True)
        try:
            self._ends.told([Ended(one.attempt, what) for one, what in made], answers.applied)
        except Exception:  # noqa: BLE001 - what was claimed in the same round is not to be lost
            _log.exception("what became of %d settlements could not be told", len(batch))

    def _poll(self) -> None:
        if not self._rounds:
            self.moved_at = time.monotonic()
        if self._is_open:
            self.look_again()
        self._loop.call_later(self._poll_s, self._poll)


def _job_of(ended: Ended) -> JobId:
    return ended.settlement.id


def _settled(batch: list[Ended], answers: Answers) -> list[Settled]:
    made = zip(batch, answers.settlements, answers.applied, strict=True)
    return [(ended.attempt.job, settlement, applied) for ended, settlement, applied in made]
