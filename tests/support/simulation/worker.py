"""A worker of the simulated world: supervisor, runner and attempts, as the real ones act."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.broker import requests as r
from penstock.core import outcome as o
from penstock.core.decision import decide
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import ALONE, SHARED, Claimed, StoredError
from penstock.core.need import runs_alone
from penstock.core.retry import Backoff, RetryPolicy
from penstock.core.settlement import Settlement
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support import history as h
from tests.support.simulation.world import Process, Steps, World

QUEUE = "simulated"
#: The timers of the fault plan: lease, heartbeat and reaper in milliseconds.
LEASE_MS = 2_000
HEARTBEAT_MS = 500
REAPER_MS = 250
#: Attempts at once in one runner.
SLOTS = 4
POLICY = RetryPolicy(retries=3, backoff=Backoff(base_ms=100, cap_ms=800))


class Behaviour(msgspec.Struct, frozen=True):
    """What a job does, as its payload says.

    Attributes:
        run_ms: how long an attempt runs.
        fails: its first so many attempts fail.
        snoozes: its first so many attempts ask for a snooze instead.
    """

    run_ms: int
    fails: int = 0
    snoozes: int = 0


class SimWorker:
    """One worker; `start` begins a new incarnation. Faults act on its two processes."""

    runner_type: type[Runner]

    def __init__(self, world: World, name: str, skew_ms: int) -> None:
        """Name the worker; nothing runs yet."""
        self.world = world
        self.name = name
        self.skew_ms = skew_ms
        self.supervisor = self.runner = world.process(skew_ms)
        self.lease = self.own_lease = LeaseId("")
        self.cancels: set[tuple[JobId, Fence]] = set()
        self.leases_of_dead: list[LeaseId] = []

    @property
    def pids(self) -> tuple[int, ...]:
        """Both processes, for fault events."""
        return (self.supervisor.pid, self.runner.pid)

    def start(self) -> None:
        """Start a supervisor, which starts a runner."""
        self.supervisor = self.world.process(self.skew_ms)
        self.world.spawn(self.supervisor, self._supervise())

    def _supervise(self) -> Steps[None]:
        # Bound to this incarnation: a new one must not be steered by an old one's steps.
        me = self.supervisor
        self.own_lease = yield from self._open(me)
        yield from self._start_runner(me)
        last_beat_ms = self.world.clock.now_ms
        while True:
            yield REAPER_MS
            try:
                if self.runner.is_dead:
                    yield from self.world.call_surely(me, "close_leases", [self.lease])
                    yield from self._start_runner(me)
                if self.world.clock.now_ms - last_beat_ms >= HEARTBEAT_MS:
                    yield from self._extend(me)
                    last_beat_ms = self.world.clock.now_ms
                yield from self.world.call(me, "promote", [QUEUE], limit=100)
                yield from self._reclaim(me)
            except (Unavailable, OutcomeUnknown):
                continue

    def _start_runner(self, me: Process) -> Steps[None]:
        runner = self.world.process(self.skew_ms)
        self.lease = yield from self._open(me, runner)
        self.runner = runner
        self.world.spawn(runner, self.runner_type(self, runner).steps())

    def _open(self, me: Process, owner: Process | None = None) -> Steps[LeaseId]:
        lease = LeaseId(self.world.hex_128())
        pid = (owner or me).pid
        request = r.OpenLease(
            id=lease,
            queues=(QUEUE,),
            owner=r.Owner(self.name, "sim", "virtual-boot", 1, pid, pid),
            ttl_ms=LEASE_MS,
        )
        yield from self.world.call_surely(me, "open_lease", request)
        return lease

    def _extend(self, me: Process) -> Steps[None]:
        leases = [self.lease, self.own_lease]
        answer = yield from self.world.call(me, "extend", leases, ttl_ms=LEASE_MS)
        self.cancels |= {(notice.id, notice.fence) for notice in answer.cancels}
        if self.own_lease in answer.lost:
            self.own_lease = yield from self._open(me)
        if self.lease in answer.lost and not self.runner.is_dead:
            self.lease = yield from self._open(me, self.runner)

    def _reclaim(self, me: Process) -> Steps[None]:
        request = r.ReclaimRequest(
            lease=self.own_lease,
            queues=(QUEUE,),
            fence=Fence(self.world.hex_128()),
            limit=100,
            lease_ttl_ms=LEASE_MS,
        )
        answer = yield from self.world.call_surely(me, "reclaim", request)
        settlements = [self._decide_loss(job) for job in answer.jobs]
        if settlements:
            yield from self.world.call_surely(me, "settle", settlements)

    def _decide_loss(self, job: Claimed) -> Settlement:
        alone = runs_alone(job.spec, job.charges)
        error = StoredError(kind="lost", message="the simulated process is gone")
        return decide(
            job,
            o.Lost(error=error, alone=alone),
            policy=POLICY,
            random_unit=self.world.random.random(),
            pid=job.pid,
        )


class Runner:
    """Claims, runs attempts at once, settles."""

    #: A planted bug: settle as completed before user code runs.
    settles_first = False

    def __init__(self, worker: SimWorker, process: Process) -> None:
        """Belong to one incarnation of a worker's runner."""
        self.worker = worker
        self.world = worker.world
        self.process = process
        self.running = 0
        self.done: list[Settlement] = []

    def steps(self) -> Steps[None]:
        """Work for ever."""
        while True:
            yield self.world.random.randint(2, 20 if self.running else 120)
            if self.done:
                yield from self._settle()
            if self.running < SLOTS:
                yield from self._claim()

    def _claim(self) -> Steps[None]:
        request = r.ClaimRequest(
            lease=self.worker.lease,
            offers=(r.Offer(QUEUE, (SHARED, ALONE)),),
            limit=SLOTS - self.running,
            fence=Fence(self.world.hex_128()),
        )
        # The same fence again after a lost reply: the jobs of that claim are ours.
        answer = yield from self.world.call_surely(self.process, "claim", request)
        for job in answer.jobs:
            self.running += 1
            self.world.attempts[job.id, job.fence] = job.claim_number
            self.world.spawn(self.process, self._attempt(job))

    def _settle(self) -> Steps[None]:
        batch, self.done = self.done, []
        yield from self.world.call_surely(self.process, "settle", batch)

    def _attempt(self, job: Claimed) -> Steps[None]:
        if self.settles_first:
            yield from self._settle_early(job)
        outcome = yield from self._user_code(job)
        random_unit = self.world.random.random()
        settlement = decide(
            job, outcome, policy=POLICY, random_unit=random_unit, pid=self.process.pid
        )
        self.running -= 1
        if not self.settles_first:
            self.done.append(settlement)

    def _settle_early(self, job: Claimed) -> Steps[None]:
        result = msgspec.json.encode({"attempt": job.claim_number})
        done = decide(job, o.Succeeded(result), random_unit=0.5, pid=self.process.pid)
        yield from self.world.call_surely(self.process, "settle", [done])

    def _user_code(self, job: Claimed) -> Steps[o.Outcome]:
        behaviour = msgspec.json.decode(job.spec.payload, type=Behaviour)
        here: dict[str, Any] = {"job": job.id, "attempt": job.claim_number}
        self.world.record(h.Started(pid=self.process.pid, **here))
        yield from self._report_progress(job, here)
        left_ms = behaviour.run_ms
        while left_ms > 0:
            if (job.id, job.fence) in self.worker.cancels:
                self.world.record(h.Ended(pid=self.process.pid, how="CancelRequested", **here))
                return o.CancelledByRequest()
            slice_ms = min(left_ms, 100)
            left_ms -= slice_ms
            yield slice_ms
        outcome = self._outcome(job, behaviour)
        how = "returned" if isinstance(outcome, o.Succeeded) else type(outcome).__name__
        if how == "returned":
            self.world.record(h.SideEffect(pid=self.process.pid, **here))
        self.world.record(h.Ended(pid=self.process.pid, how=how, **here))
        return outcome

    def _report_progress(self, job: Claimed, here: dict[str, Any]) -> Steps[None]:
        progress = msgspec.Raw(msgspec.json.encode({"attempt": job.claim_number}))
        note = r.Note(id=job.id, fence=job.fence, progress=progress)
        try:
            kept = yield from self.world.call(self.process, "note", [note])
        except (Unavailable, OutcomeUnknown):
            return
        if kept[0]:
            self.world.record(h.Noted(**here))

    def _outcome(self, job: Claimed, behaviour: Behaviour) -> o.Outcome:
        earlier = job.claim_number - 1
        if earlier < behaviour.snoozes:
            return o.SnoozeAsked(delay_ms=300)
        if earlier < behaviour.snoozes + behaviour.fails:
            return o.Failed(error=StoredError(kind="ValueError", message="asked to fail"))
        return o.Succeeded(msgspec.json.encode({"attempt": job.claim_number}))


SimWorker.runner_type = Runner
