"""A runner from its first claim to its last settlement: what the supervisor says, what follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from penstock.app import App
from penstock.broker.protocol import AsyncBroker
from penstock.core.clock import Clock
from penstock.core.ids import AttemptKey
from penstock.core.job import SHARED, THREAD, THREAD_FULL, Claimed
from penstock.core.settlement import Applied
from penstock.executors.stop import Stop
from penstock.executors.thread import ThreadExecutor
from penstock.worker import wire
from penstock.worker.attempt import AttemptPlan, CallPlain
from penstock.worker.dead_notices import DeadNotices
from penstock.worker.pipe import Pipe
from penstock.worker.pulse import Bell
from penstock.worker.queue_room import QueueRoom
from penstock.worker.reminder import Reminder
from penstock.worker.runner.attempts import RunnerAttempt, enter
from penstock.worker.runner.carrier import Carrier
from penstock.worker.runner.desk import Desk
from penstock.worker.runner.feed import Claimable, Feed
from penstock.worker.runner.grip import Grip
from penstock.worker.runner.limits import Limits
from penstock.worker.runner.notes import NoteBook
from penstock.worker.runner.pump import Ended, Pump
from penstock.worker.runner.threads import Threads
from penstock.worker.runner.witness import Witness

_log = logging.getLogger("penstock.runner")

#: Milliseconds: a burst waits for a job that becomes due this soon, such as an early retry (the
#: default backoff begins at 2 s and doubles); what is due later is for the next worker.
_BURST_DUE_MS: Final = 10_000
#: Seconds that interrupted attempts are given to end before their jobs are released.
_INTERRUPT_WAIT_S: Final = 1.0
#: Seconds that the last settlements may take before the process ends without them; the supervisor
#: then takes the jobs over under the closed lease.
_LAST_WRITE_WAIT_S: Final = 5.0
#: Seconds that a runner without jobs asks a broker that is away what became of its last claim.
_LAST_CLAIM_WAIT_S: Final = 0.7


class Service:
    """One runner at work, in the running loop.

    Args:
        app: whose tasks are run, and whose event sinks are told.
        start: what the supervisor asks for.
        broker: async face.
        pipe: to the supervisor.
        clock: of this machine.
        call_plain: calls plain functions; None: threads of its own do.

    Attributes:
        desk: the attempts.
        pump: the claims and settlements.
        grip: whether the lease holds.
    """

    def __init__(
        self,
        app: App,
        start: wire.Start,
        broker: AsyncBroker,
        pipe: Pipe[wire.ToRunner],
        clock: Clock,
        *,
        call_plain: CallPlain | None = None,
    ) -> None:
        self._start = start
        self._broker = broker
        self._pipe = pipe
        self._bell = Bell()
        self._stop: wire.Drain | wire.ReleaseNow | None = None
        self._yield_to: int | None = None
        self._early_cancels: dict[AttemptKey, None] = {}
        self._notes = NoteBook(broker)
        limits = Limits(pipe, clock)
        plan = AttemptPlan(
            find=app.registry.find,
            enter=enter,
            middleware=app.middlewares,
            call_plain=call_plain or ThreadExecutor().call,
            limits=limits,
            result_bytes_max=start.result_bytes_max,
            seal=app.client.sealing.own(),
        )
        self._threads = Threads(
            pipe.send, full=start.threads, light=start.light, light_ms=start.light_runtime_max_ms
        )
        self._threads.learn(start.kinds)
        self.desk = Desk(
            plan,
            self._notes,
            limits,
            self._hand_over,
            self._threads,
            self._thread_freed,
            Witness(app.event_sinks),
        )
        self.desk.coroutines_max = start.coroutines
        self.desk.default_limits = start
        self.grip = Grip(start.lease, clock)
        self._reminder = Reminder(broker.settle)
        self.pump = Pump(
            Carrier(broker, lambda lease: lease == self.grip.lease, self._reminder),
            self._notes,
            DeadNotices(broker, app.registry.facts),
            start.lease,
            self,
            poll_ms=start.poll_ms,
            rounds_at_once=broker.rounds_at_once,
        )
        self.pump.room = QueueRoom(
            start.queues,
            start.queue_limits,
            running=lambda: (one.job.queue for one in self.desk.running.values()),
            claims=lambda: self.pump.open_claims,
        )

    async def run(self) -> bool:
        """Claim and run jobs until told to stop.

        Returns:
            Whether every attempt has been settled or released, but for the one that the supervisor
            takes care of. False: the broker did not answer any more.
        """
        desk, threads = self.desk, self._threads
        self.pump.feeds = (
            await self._feed(
                (SHARED,),
                lambda: desk.coroutines_max,
                lambda: ((SHARED,), desk.free_coroutines()),
            ),
            await self._feed((THREAD, THREAD_FULL), lambda: threads.total, threads.claimable),
        )
        self._reminder.watch((feed.listener for feed in self.pump.feeds), self._start.durability)
        notes = asyncio.create_task(self._notes.serve())
        if self._stop is None:
            self.pump.open()
        while self._stop is None:
            await self._bell.sleep()
        self.pump.shut()
        await self._finish()
        self._threads.tell()
        notes.cancel()
        for feed in self.pump.feeds:
            feed.close()
        return self._is_finished()

    @property
    def is_still(self) -> bool:
        """Whether no user code of any attempt runs."""
        return not self.desk.running and not self.desk.has_given_up

    def take_in(self, message: wire.ToRunner) -> None:
        """Do what the supervisor says."""
        match message:
            case wire.Renew():
                self.grip.renew(message.lease)
                self.desk.lose(message.lost)
                self.pump.renew(message.lease)
            case wire.Extended():
                if self.grip.extend(message.lease, message.runs_out_boot_ms):
                    self.pump.look_again()
            case wire.CancelJobs():
                self._early_cancels |= self.desk.interrupt(message.jobs, Stop.CANCEL)
            case wire.Slots():
                self._threads.full_max = self._yield_to = message.threads
                self._thread_freed()
                self.pump.look_again()
            case wire.Kinds():
                self._threads.learn(message.kinds)
            case wire.Quiet(on=True):
                self.pump.shut()
            case wire.Quiet() if self._stop is None:
                self.pump.open()
            case wire.Drain() | wire.ReleaseNow():
                self._end_by(message)
            case _:
                return

    def take(self, jobs: Sequence[Claimed]) -> None:
        """Start claimed jobs; those that come too late go back."""
        # All are of one claim, and so of one lease.
        # Fence: where it may be lost they may run elsewhere by now; their release is then refused.
        is_late = bool(jobs) and not self.grip.holds(jobs[0].lease)
        if is_late:
            _log.warning("%d jobs do not begin: their claim was answered too late", len(jobs))
        if is_late or self._stop is not None:
            self.desk.send_back(jobs)
        else:
            self.desk.start(jobs)
        # Race: a job can be cancelled after the broker gave it away and before it is here. What
        # matches no job of the claims that were under way was for one that has ended.
        absent = self.desk.interrupt(self._early_cancels, Stop.CANCEL)
        self._early_cancels = absent if self.pump.claims else {}
        self._thread_freed()

    def told(self, ended: Sequence[Ended], applied: Sequence[Applied]) -> None:
        """Take in what became of settlements."""
        self.desk.told(ended, applied)

    def rested(self) -> None:
        """Nothing is under way at the broker."""
        self._bell.ring()
        self._early_cancels.clear()
        self._thread_freed()
        if self._start.burst and self._stop is None and self._is_dry():
            self._end_by(wire.Drain(self._start.drain_grace_ms))

    async def _feed(
        self, needs: tuple[str, ...], slots: Callable[[], int], claimable: Claimable
    ) -> Feed:
        listener = await self._broker.listen()
        return Feed(
            needs,
            self._start.queues,
            listener,
            slots=slots,
            # Under a lease that may have run out nothing may begin, so nothing is asked for.
            claimable=lambda: claimable() if self.grip.holds(self.grip.lease) else ((), 0),
            kick=self.pump.kick,
            claims_at_once=self._broker.rounds_at_once,
        )

    async def _finish(self) -> None:
        """Wait for what runs, for as long as is granted; interrupt and release the rest."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while isinstance(self._stop, wire.Drain) and not self._is_finished():
            left_s = began + self._stop.grace_ms / 1000 - loop.time()
            if left_s <= 0 or not await self._bell.sleep(left_s):
                break
        for attempt in self._others():
            attempt.interrupt(Stop.DRAIN)
        await self._wait_until_finished(_INTERRUPT_WAIT_S)
        self.desk.release(self._others())
        await self._wait_until_finished(_LAST_WRITE_WAIT_S)

    async def _wait_until_finished(self, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while not self._is_finished() and (left_s := until - loop.time()) > 0:
            await self._bell.sleep(left_s)

    def _is_finished(self) -> bool:
        return self.pump.is_at_rest and not self._others()

    def _others(self) -> list[RunnerAttempt]:
        """Return what runs, without the attempt that the supervisor takes care of."""
        left_out = self._stop.except_job if isinstance(self._stop, wire.Drain) else None
        return [one for one in self.desk.running.values() if one.job.id != left_out]

    def _is_dry(self) -> bool:
        return not self.desk.running and all(
            feed.is_sated
            and not feed.is_cut_off
            and (feed.due_in_ms is None or feed.due_in_ms > _BURST_DUE_MS)
            for feed in self.pump.feeds
        )

    def _end_by(self, stop: wire.Drain | wire.ReleaseNow) -> None:
        # A Drain does not take a ReleaseNow back.
        if not isinstance(self._stop, wire.ReleaseNow):
            self._stop = stop
        self.pump.shut()
        self._bell.ring()
        asyncio.get_running_loop().call_later(_LAST_CLAIM_WAIT_S, self._abandon_claim)

    def _abandon_claim(self) -> None:
        if not self.desk.running:
            self.pump.abandon_claim()

    def _hand_over(self, ended: Ended) -> None:
        self.pump.add(ended)

    def _thread_freed(self) -> None:
        if self.pump.claims_for(THREAD):
            # What this claim brings was asked for under the old limit: it is run, then yielded.
            return
        if self._yield_to is not None and self._threads.full_busy <= self._yield_to:
            self._pipe.send(wire.Yielded(self._yield_to))
            self._yield_to = None
