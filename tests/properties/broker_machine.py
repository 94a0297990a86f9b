"""Drives a broker and the oracle through the same random life, and compares them at each step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import Claimed
from penstock.core.lifecycle import FINAL, State
from penstock.testing.conformance import Capability, Harness
from tests.conformance.harnesses import MemoryHarness
from tests.properties.requests import LEASE_MS, NEEDS, QUEUES, claims, enqueues, settlement
from tests.properties.twins import Twins

Held = tuple[JobId, Fence]
"""A job and the fence under which somebody ran it once."""


class BrokerMachine(RuleBasedStateMachine):
    """The rules are the verbs, and what befalls workers: crash, reboot, late and double settles.

    What must hold after every step:

    - the broker shows what the oracle shows, and answered the same;
    - each job moved as the lifecycle table allows for that verb, and no other way;
    - no job is lost: only delete and prune forget, and only final ones;
    - the counters equal a recount;
    - a settlement or note with an old fence is stale, and writes nothing;
    - a running job has one fence and one lease; claim numbers never fall.
    """

    make_subject: Callable[[Path], Harness]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="penstock-machine-")
        folder = Path(self.folder.name)
        self.twins = Twins(type(self).make_subject(folder), MemoryHarness(folder))
        self.ids = JobIdSource()
        self.drawn = 0
        self.known: list[JobId] = []
        self.leases: list[LeaseId] = []
        self.past: list[Held] = []
        self.running: dict[JobId, Fence] = {}
        self.tags = self.call("register", lambda broker: dict(broker.register(QUEUES)))

    def teardown(self) -> None:
        """Close and remove both stores."""
        self.twins.close()
        self.folder.cleanup()

    def call(self, verb: str, make: Callable[[Broker], Any]) -> Any:
        """Call a verb of both brokers; return the subject's answer."""
        answer = self.twins.call(verb, make)
        running = self.running.items()
        self.running = {i: f for i, f in running if self.twins.state(i) is State.RUNNING}
        return answer

    def _draw(self, mark: int) -> str:
        self.drawn += 1
        return f"{mark << 124 | self.drawn:032x}"

    def _took(self, jobs: tuple[Claimed, ...]) -> None:
        for job in jobs:
            self.past.append((job.id, job.fence))
            self.running[job.id] = job.fence

    # Clients.

    @rule(data=st.data())
    def enqueue(self, data: st.DataObject) -> None:
        """Jobs come in, with delays, deadlines, keys and parents; some ids for a second time."""
        batch = data.draw(enqueues(self.known, self._new_id))
        answers = self.call("enqueue", lambda broker: broker.enqueue(batch))
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, r.Accepted) and answer.id == request.id:
                assert self.twins.state(request.id) is answer.state
                if request.id not in self.known:
                    self.known.append(request.id)

    def _new_id(self, queue: str) -> JobId:
        self.drawn += 1
        return self.ids.draw(self.twins.harnesses[0].wall_ms(), self.tags[queue], self.drawn)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def operate(self, data: st.DataObject) -> None:
        """People cancel, requeue and delete jobs, in whatever state they are."""
        ids = data.draw(st.lists(st.sampled_from(self.known), min_size=1, max_size=4))
        verb = data.draw(st.sampled_from(["cancel", "cancel", "requeue", "delete"]))
        self.call(verb, lambda broker: list(getattr(broker, verb)(ids)))

    @precondition(lambda self: self._final())
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        """People give jobs that ended another try."""
        ids = data.draw(st.lists(st.sampled_from(self._final()), min_size=1, max_size=3))
        self.call("requeue", lambda broker: list(broker.requeue(ids)))

    def _final(self) -> list[JobId]:
        return [job_id for job_id, job in self.twins.jobs.items() if job.state in FINAL]

    # Workers.

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A life begins with a worker and some jobs."""
        self._open(QUEUES)
        self.enqueue(data)

    @rule(queues=st.sampled_from([QUEUES, QUEUES[:1], QUEUES[1:]]))
    def start_worker(self, queues: tuple[str, ...]) -> None:
        """A worker opens a lease and takes what there is."""
        self._open(queues)
        self._claim_all()

    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        """A worker that is well takes what there is, and settles some of what it runs."""
        newest = self.leases[-1]
        self.call("extend", lambda broker: broker.extend([newest], ttl_ms=LEASE_MS))
        self._claim_all()
        if self.running:
            self.settle(data)

    def _claim_all(self) -> None:
        offers = tuple(r.Offer(queue, NEEDS) for queue in QUEUES)
        fence = Fence(self._draw(0xF))
        self._claim(r.ClaimRequest(lease=self.leases[-1], offers=offers, limit=20, fence=fence))

    def _open(self, queues: tuple[str, ...]) -> None:
        lease = r.OpenLease(
            id=LeaseId(self._draw(0xA)),
            queues=queues,
            owner=r.Owner("worker", "host", "boot", 1, 2, 3),
            ttl_ms=LEASE_MS,
        )
        self.leases.append(lease.id)
        self.call("open_lease", lambda broker: broker.open_lease(lease))

    def _claim(self, request: r.ClaimRequest) -> None:
        self._took(self.call("claim", lambda broker: broker.claim(request)).jobs)

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        """A worker claims, and now and then repeats the call because its answer was lost."""
        request = data.draw(claims(self.leases, Fence(self._draw(0xF))))
        for _ in range(data.draw(st.sampled_from([1, 1, 2]))):
            self._claim(request)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Workers settle what they run, in a batch of mixed kinds, some of it asked to end."""
        possible = st.sampled_from(sorted(self.running.items()))
        held = data.draw(st.lists(possible, unique=True, min_size=1, max_size=4))
        if data.draw(st.booleans()):
            ids = [job_id for job_id, _ in held]
            self.call("cancel", lambda broker: list(broker.cancel(ids)))
        batch = [data.draw(settlement(job_id, fence)) for job_id, fence in held]
        applied = self.call("settle", lambda broker: list(broker.settle(batch)))
        assert s.Applied.STALE not in applied

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def cycle(self, data: st.DataObject) -> None:
        """A worker settles one job and claims the next in one call."""
        job_id, fence = data.draw(st.sampled_from(sorted(self.running.items())))
        batch = [data.draw(settlement(job_id, fence))]
        request = data.draw(claims(self.leases, Fence(self._draw(0xF))))
        _, answer = self.call("cycle", lambda broker: broker.cycle(batch, request))
        self._took(answer.jobs)

    @precondition(lambda self: self._old_fences())
    @rule(data=st.data())
    def settle_late(self, data: st.DataObject) -> None:
        """A worker that was paused, or that repeats itself, settles under a fence that moved on."""
        job_id, fence = data.draw(st.sampled_from(self._old_fences()))
        late = data.draw(settlement(job_id, fence))
        note = r.Note(id=job_id, fence=fence, log=("late",))
        before = dict(self.twins.jobs)
        assert self.call("settle", lambda broker: list(broker.settle([late]))) == ["stale"]
        assert self.call("note", lambda broker: list(broker.note([note]))) == [False]
        assert self.twins.jobs == before, "a stale write wrote"

    def _old_fences(self) -> list[Held]:
        return [held for held in self.past if self.running.get(held[0]) != held[1]]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        """A running job reports progress, and supervisors extend leases, dead ones among them."""
        job_id, fence = data.draw(st.sampled_from(sorted(self.running.items())))
        note = r.Note(id=job_id, fence=fence, checkpoint=msgspec.Raw(b"1"), log=("line",))
        assert self.call("note", lambda broker: list(broker.note([note]))) == [True]
        ids = data.draw(st.lists(st.sampled_from(self.leases), unique=True, max_size=3))
        self.call("extend", lambda broker: broker.extend(ids, ttl_ms=LEASE_MS))

    # Death, and what follows.

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """A worker dies with a witness: its lease is closed, its jobs are taken over."""
        lease = data.draw(st.sampled_from(self.leases))
        self.call("close_leases", lambda broker: broker.close_leases([lease]))
        self._open(QUEUES)
        self._reclaim(limit=data.draw(st.sampled_from([1, 50])), times=2)

    @rule()
    def outlive(self) -> None:
        """A worker looks for a whole lease, and takes over from those who do not extend."""
        self._open(QUEUES)
        for _ in range(5):
            self._reclaim(limit=50, times=1)
            self._pass(LEASE_MS // 4)

    def _reclaim(self, *, limit: int, times: int) -> None:
        taker = self.leases[-1]
        for broker in self.twins.brokers:
            broker.extend([taker], ttl_ms=LEASE_MS)
        request = r.ReclaimRequest(
            lease=taker,
            queues=QUEUES,
            fence=Fence(self._draw(0xE)),
            limit=limit,
            lease_ttl_ms=LEASE_MS,
        )
        for _ in range(times):
            self._took(self.call("reclaim", lambda broker: broker.reclaim(request)).jobs)

    # Maintenance, and time.

    @rule(verb=st.sampled_from(["promote", "expire"]), limit=st.sampled_from([1, 3, 100]))
    def maintain(self, verb: str, limit: int) -> None:
        """Due jobs are promoted, late ones expired."""
        self.call(verb, lambda broker: getattr(broker, verb)(QUEUES, limit=limit))

    @rule(
        age_ms=st.sampled_from([0, 100, 10**9, 10**9]),
        count=st.sampled_from([0, 2, 100, 100]),
        limit=st.sampled_from([1, 100]),
    )
    def prune(self, age_ms: int, count: int, limit: int) -> None:
        """Final jobs are forgotten by age and count, and results by their ttl."""
        rules = [r.Retention(state=x, age_ms=age_ms, count_max=count) for x in sorted(FINAL)]
        for queue in QUEUES:
            # One queue a call: which queue the limit favours is the broker's own choice.
            self._prune(queue, rules, limit)

    def _prune(self, queue: str, rules: list[r.Retention], limit: int) -> None:
        self.call("prune", lambda broker: broker.prune([queue], rules, limit=limit))

    @rule(ms=st.sampled_from([1, 9, 50, 100, 100, LEASE_MS // 2, LEASE_MS, 86_400_000]))
    def advance(self, ms: int) -> None:
        """Time passes."""
        self._pass(ms)

    def _pass(self, ms: int) -> None:
        self.twins.each(lambda harness: harness.advance(ms))

    @rule(data=st.data())
    def disturb(self, data: st.DataObject) -> None:
        """A queue is paused or resumed, the wall clock is set, or the machine starts anew."""
        reboots = Capability.BOOT_ID in self.twins.harnesses[0].capabilities
        last = "reboot" if reboots else "clock"
        what = data.draw(st.sampled_from(["pause", "resume", "resume", "clock", last]))
        if what in ("pause", "resume"):
            queue = data.draw(st.sampled_from(QUEUES))
            self.call(what, lambda broker: getattr(broker, what)(queue))
            return
        ms = data.draw(st.sampled_from([-100, 100, 3_600_000]))
        is_clock = what == "clock"
        self.twins.each(lambda h: h.step_wall(ms) if is_clock else h.reboot())

    # What always holds.

    @invariant()
    def no_job_comes_from_nowhere(self) -> None:
        """Whatever is there was accepted; that none is lost, `Twins` sees (jobs leave by prune)."""
        assert set(self.twins.jobs) <= set(self.known)

    @invariant()
    def a_running_job_has_one_fence(self) -> None:
        """The job's runs are told apart by their fences, and the last one is the only live one."""
        running = {i for i, job in self.twins.jobs.items() if job.state is State.RUNNING}
        assert running == set(self.running)
        under_leases = sum(lease.running for lease in self.twins.brokers[0].leases())
        assert under_leases <= len(running)
