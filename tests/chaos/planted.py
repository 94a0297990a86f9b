"""Eleven deliberate defects, each as small as in real code, for the checker's self-test.

A defect is an `Engine` that carries out some verb wrongly on the memory broker, or a runner that
acts wrongly. A gap between two steps is a `yield`: there another process may act, or the caller
may be killed. Each is a defect that a queue system has shipped or that reliability plans warn of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker, Store
from penstock.brokers.memory.claim import as_claimed
from penstock.brokers.memory.ordered import Ordered
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Reason
from penstock.core.lifecycle import WAITING, Event, State
from penstock.core.settlement import Applied, Complete, Settlement
from tests.support.simulation.worker import Runner, SimWorker
from tests.support.simulation.world import Engine, Process, Steps

#: Longest gap between the two steps of a verb that should be one, in virtual milliseconds.
GAP_MS = 400


class Forgiving(Ordered[tuple[int, JobId]]):
    """An index that removes what is not there without a word, as ZREM and DELETE do."""

    def remove(self, entry: tuple[int, JobId]) -> None:
        """Take `entry` out if it is there."""
        if entry in list(self):
            super().remove(entry)


class BuggyEngine(Engine):
    """An engine with its hands in the store."""

    def __init__(self, broker: MemoryBroker) -> None:
        """Keep the store, and a source of gaps that leaves the world's own draws alone."""
        super().__init__(broker)
        self.store: Store = broker.store
        self.store.ready = defaultdict(Forgiving)
        self.random = Random(broker.store.clock.boot_ms())


class FenceDropped(BuggyEngine):
    """Settle compares no fence: the state alone decides."""

    def settle(self, _caller: Process, items: Sequence[Settlement]) -> Steps[Any]:
        """Forge the fence that the store would accept."""
        yield 0
        jobs = self.store.jobs
        forged = [
            msgspec.structs.replace(item, fence=jobs[item.id].fence or item.fence) for item in items
        ]
        return self.broker.settle(forged)


class StateUnguarded(BuggyEngine):
    """Settle compares the fence, which stays with the job, and not that the job runs.

    The defect of Solid Queue #589: finished and failed at once.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        """Remember the last fence of each job, as a column that is never cleared would."""
        super().__init__(broker)
        self.fences: dict[JobId, Fence] = {}

    def settle(self, _caller: Process, items: Sequence[Settlement]) -> Steps[Any]:
        """Settle, and settle again what comes twice."""
        yield 0
        for item in items:
            job = self.store.jobs[item.id]
            if job.fence is not None:
                self.fences[item.id] = job.fence
            elif self.fences.get(item.id) == item.fence:
                # As an UPDATE by id and fence would: indexes follow, the counters only the items.
                self.store._leave(job)
                job.state, job.fence = State.RUNNING, item.fence
        return self.broker.settle(items)


class SettledFirst(Runner):
    """The job is acknowledged before its user code runs, as Celery does by default."""

    settles_first = True


class SettlesFirst(SimWorker):
    """A worker with such runners."""

    runner_type = SettledFirst


class ClaimedInTwoCalls(BuggyEngine):
    """Claim takes jobs off the ready set in one call and marks them running in the next.

    The defect of every queue built on a bare pop: a crash in between strands the job.
    """

    def claim(self, _caller: Process, request: r.ClaimRequest) -> Steps[Any]:
        """Pop, wait, mark."""
        ready = [self.store.ready[o.queue, need] for o in request.offers for need in o.needs]
        popped = [(index, entry) for index in ready for entry in list(index)[: request.limit]]
        for index, entry in popped:
            index.remove(entry)
        yield self.random.randint(0, GAP_MS // 4)
        for index, entry in popped:
            if self.store.jobs[entry[1]].state is State.QUEUED:
                index.add(entry)
        return self.broker.claim(request)


class ClientClock(BuggyEngine):
    """Leases are stamped with the clock of the worker, which is off the broker's."""

    def open_lease(self, caller: Process, lease: r.OpenLease) -> Steps[Any]:
        """Open, stamped by the caller."""
        yield 0
        self.broker.open_lease(lease)
        self._stamp(caller, [lease.id], lease.ttl_ms)

    def extend(self, caller: Process, leases: Sequence[LeaseId], *, ttl_ms: int) -> Steps[Any]:
        """Extend, stamped by the caller."""
        yield 0
        answer = self.broker.extend(leases, ttl_ms=ttl_ms)
        self._stamp(caller, [lease for lease in leases if lease not in answer.lost], ttl_ms)
        return answer

    def _stamp(self, caller: Process, leases: Sequence[LeaseId], ttl_ms: int) -> None:
        for lease in leases:
            self.store.leases[lease].expires_at = (
                self.store.clock.boot_ms() + caller.skew_ms + ttl_ms
            )


class GraceDropped(BuggyEngine):
    """The reaper does not hold after an outage: all who were cut off lose their jobs."""

    def reclaim(self, _caller: Process, request: r.ReclaimRequest) -> Steps[Any]:
        """Reclaim as if reapers had never paused."""
        yield 0
        clock = self.store.clock
        self.store.reaper_tick = (clock.boot_id, clock.boot_ms())
        self.store.reaper_hold_until = 0
        return self.broker.reclaim(request)


class IndexTrimmed(BuggyEngine):
    """The ready set is bounded by dropping members, as MAXLEN bounds a stream."""

    #: Members kept; small, as the backlog of a simulated run is.
    bound = 1

    def enqueue(self, _caller: Process, jobs: Sequence[r.EnqueueRequest]) -> Steps[Any]:
        """Enqueue, then trim."""
        yield 0
        answers = self.broker.enqueue(jobs)
        for index in self.store.ready.values():
            while len(index) > self.bound:
                index.remove(index[0])
        return answers


class ReapedById(BuggyEngine):
    """The reaper lists what ran out, and later takes it by id, whatever happened since.

    The defect of river#1302.
    """

    def reclaim(self, _caller: Process, request: r.ReclaimRequest) -> Steps[Any]:
        """List, wait, take."""
        clock = self.store.clock
        if self.store.reaper_hold_until > clock.boot_ms():
            return self.broker.reclaim(request)
        listed = [
            job_id
            for lease in self.store.leases.values()
            if lease.closed or lease.expires_at <= clock.boot_ms()
            for job_id in lease.jobs
        ]
        yield self.random.randint(0, GAP_MS)
        answer = self.broker.reclaim(request)
        taken = [self._take(job_id, request) for job_id in listed]
        known = {job.id for job in answer.jobs}
        more = [job for job in taken if job is not None and job.id not in known]
        return msgspec.structs.replace(answer, jobs=(*answer.jobs, *more))

    def _take(self, job_id: JobId, request: r.ReclaimRequest) -> Any:
        job = self.store.jobs[job_id]
        if job.state is not State.RUNNING or job.lease == request.lease:
            return None
        self.store.move(job, Event.RECLAIM, State.RUNNING)
        job.fence, job.lease = request.fence, request.lease
        self.store.leases[request.lease].jobs[job_id] = None
        before = job.attempts[-1]
        return msgspec.structs.replace(as_claimed(job), worker=before.worker, pid=before.pid)


class CounterDrift(BuggyEngine):
    """A counter follows the number of ids asked for, not the number of rows changed."""

    def cancel(self, _caller: Process, ids: Sequence[JobId]) -> Steps[Any]:
        """Cancel, and count what was final already once more."""
        yield 0
        answers = self.broker.cancel(ids)
        for job_id, answer in zip(ids, answers, strict=True):
            if answer is r.CancelAnswer.TOO_LATE:
                self.store.counters[self.store.jobs[job_id].queue, State.CANCELLED] += 1
        return answers


class CancelRaces(BuggyEngine):
    """Cancel reads the state, then writes: a claim in between is overlooked."""

    def cancel(self, _caller: Process, ids: Sequence[JobId]) -> Steps[Any]:
        """Read, wait, write."""
        waited = {job_id: self.store.jobs[job_id].state in WAITING for job_id in ids}
        yield self.random.randint(0, GAP_MS // 8)
        answers = []
        for job_id in ids:
            job = self.store.jobs[job_id]
            if waited[job_id] and job.state is State.RUNNING:
                job.reason, job.finished_at = Reason.BY_OPERATOR, self.store.clock.wall_ms()
                self.store.move(job, Event.CANCEL, State.CANCELLED)
                answers.append(r.CancelAnswer.CANCELLED)
            else:
                answers += self.broker.cancel([job_id])
        return answers


class ResultOverwritten(BuggyEngine):
    """The result is written by id beside the guarded change of state."""

    def settle(self, _caller: Process, items: Sequence[Settlement]) -> Steps[Any]:
        """Settle, then store every result that came."""
        yield 0
        applied: Sequence[Applied] = self.broker.settle(items)
        for item in items:
            job = self.store.jobs[item.id]
            if isinstance(item, Complete) and job.state is State.COMPLETED:
                job.result = item.result
        return applied


@dataclass(frozen=True)
class Planted:
    """One defect.

    Attributes:
        caught_by: invariants of which at least one must be violated.
    """

    name: str
    caught_by: frozenset[str]
    engine: type[Engine] = Engine
    worker: type[SimWorker] = SimWorker


def _planted(name: str, caught_by: str, defect: type[Engine | SimWorker]) -> Planted:
    names = frozenset(caught_by.split())
    if issubclass(defect, SimWorker):
        return Planted(name, names, worker=defect)
    return Planted(name, names, engine=defect)


#: The twelfth defect of the plan, a doubled cron tick, comes with schedules.
PLANTED = (
    _planted("fence-dropped", "I4", FenceDropped),
    _planted("state-unguarded", "I7 I6 I10 I1", StateUnguarded),
    _planted("settled-before-run", "I2", SettlesFirst),
    _planted("state-and-index-in-two-calls", "I1", ClaimedInTwoCalls),
    _planted("client-clock", "I3 I5", ClientClock),
    _planted("grace-dropped", "I3 I5", GraceDropped),
    _planted("index-trimmed", "I1", IndexTrimmed),
    _planted("reaped-by-id", "I3 I5", ReapedById),
    _planted("counter-drift", "I7", CounterDrift),
    _planted("cancel-races", "I10", CancelRaces),
    _planted("result-overwritten", "I4", ResultOverwritten),
)
