"""Situations in which a job waits, drawn from a seed, and what can be taken out of its way."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.cli.explanation import Explanation, Scene, explain
from penstock.core.capacity import Capacity
from penstock.core.demand import Demand, demand_of, need_with
from penstock.core.footprint import SAMPLES_MIN, Run, tally_of
from penstock.core.ids import JobId, JobIdSource
from penstock.core.job import ALONE, SHARED, THREAD, JobRecord, JobSpec, Parent
from penstock.core.lifecycle import State
from penstock.core.need import is_alone, learned_need, sized_need
from penstock.core.pace import pace_sums
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record
from penstock.worker.supervisor.host_share import HostShare, Pool
from tests.support.claiming_worker import ClaimingWorker

MIB: Final = 2**20
GIB: Final = 2**30
#: What can be taken out of a job's way here; "final" and "running" are told elsewhere.
KINDS: Final = (
    "parents", "due", "paused", "no_worker", "lacking", "too_large", "full", "host", "limit",
    "gate", "pressure", "quiet", "ahead",
)  # fmt: skip
#: Of these, what a worker more, just large enough for the job, takes away.
SPACE: Final = frozenset({"no_worker", "lacking", "too_large", "full"})
#: What keeps workers that could hold the job from taking it.
ROOM: Final = frozenset({"full", "host", "limit", "gate", "pressure", "quiet"})
_DELAY_MS: Final = 60_000
#: Milliseconds that jobs of a light task last at most.
_LIGHT_MS: Final = 500
#: Declared sizes, some of them in the middle of a class.
_DEMANDS: Final = (
    Demand(cpus_milli=1_000), Demand(cpus_milli=1_500), Demand(labels=("eu",)),
    Demand(resources=(("license", 1),)), Demand(gpus=1), Demand(gpu_memory_bytes=3 * GIB),
    Demand(gpu_memory_bytes=5 * GIB), Demand(cpus_milli=500, labels=("us",), gpus=1),
)  # fmt: skip
_SIZES: Final = tuple(size * MIB for size in (16, 100, 128, 250, 400, 512, 1_000, 1_500, 3_000))


def common_obstacles(found: Explanation) -> frozenset[str]:
    """Return what keeps all that could hold the job from taking it, and one by itself.

    Empty: nothing does, nobody could, or each has reasons of its own.
    """
    each = [frozenset(one.obstacles) for one in found.workers if one.holds]
    common = frozenset.intersection(*each) if each else frozenset()
    return common if common in each else frozenset()


class Situation:
    """One world: workers, jobs that run, jobs that wait, and the one that is asked about.

    The same seed gives the same world, so that each intervention has one of its own.
    """

    def __init__(self, seed: int) -> None:
        """Draw the world and let the workers take what they can."""
        self._chance = random.Random(seed)
        self._folder = Path(tempfile.mkdtemp(prefix="situation-"))
        self._ledgers: list[HostLedger] = []
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self._tags = self.broker.register(["q", "r", "parents"])
        for task, run_ms in (("light", 20.0), ("long", 2_000.0), ("said", 2_000.0)):
            runs = pace_sums(run_ms, 0.0, side_by_side=1, at_ms=self.clock.wall_ms())
            self.broker.learn([r.Tally(task, runs)] * SAMPLES_MIN)
        self._ids = JobIdSource()
        #: "crowded": all workers are on one host, with as much as others have or more. "kept":
        #: so many jobs run that there is room for small ones only, and large ones wait.
        self._theme = self._chance.choice(("", "", "crowded", "crowded", "kept", "kept"))
        #: What runs of the task `learned` took: too few to tell, or less than any worker has. What
        #: is cut to the largest worker changes with each one that is added: see the unit tests.
        self._peaks = [12 * MIB] * self._chance.choice((0, 2, 3, 30))
        for peak in self._peaks:
            self.broker.learn([r.Tally("learned", tally_of(Run(peak, None, 0)))])
        workers = (1, 1, 2) if self._theme == "kept" else (0, 1, 1, 2, 3)
        self.workers = [self._worker(f"w{at}") for at in range(self._chance.choice(workers))]
        self._parents: list[JobId] = []
        if self._theme == "kept":
            self._enqueue_some((3, 4), "qr", _SIZES[3:6])
            self._enqueue_some((1, 2), "qr", _SIZES[5:])
        else:
            self._enqueue_some(range(8), "qqr", _SIZES)
            if self._chance.random() < 0.4:
                self.broker.pause("q")
                if self._chance.random() < 0.5:
                    self.broker.pause("r")
                self._free_some()
            self._enqueue_some((0, 0, 1, 3), "qqr", _SIZES)
        self._hold_back()
        self.target = self._enqueue(
            "q",
            kind=self._chance.choice(("plain", "plain", "due", "parents")),
            sizes=_SIZES[:3] if self._theme == "kept" else _SIZES,
        )
        self._enqueue_some((0, 0, 2), "q", _SIZES)

    def _enqueue_some(self, counts: Sequence[int], queues: str, sizes: Sequence[int]) -> None:
        for _ in range(self._chance.choice(counts)):
            self._enqueue(self._chance.choice(queues), sizes=sizes)
        self.settle_down()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the files of its hosts."""
        for ledger in self._ledgers:
            ledger.close()
        self._folder.rmdir()

    def _worker(self, name: str) -> ClaimingWorker:
        queues = self._chance.choice((("q",), ("q", "r"), ("q", "r"), ("r",)))
        is_crowded = self._theme == "crowded"
        sizes = (1_024, 1_024, 2_048) if self._theme else (256, 512, 1_024, 2_048, 4_096)
        capacity = Capacity(
            memory_bytes=self._chance.choice(sizes) * MIB,
            slots=self._chance.choice((2, 4) if self._theme else (1, 2, 4)),
            cpus_milli=self._chance.choice((1_000, 2_000)),
            labels=self._chance.choice(((), ("eu",), ("eu", "us"))),
            # With several the broker does not tell which of them a job has.
            gpu_memory_bytes=self._chance.choice(((), (8 * GIB,), (4 * GIB,))),
            resources=self._chance.choice(({}, {"license": 1}, {"license": 2})),
            queue_limits=self._chance.choice(({}, {}, {"q": 1}, {"q": 2}, {"q": 1, "r": 1})),
            runners=1,
            light_slots=self._chance.choice((0, 1, 2)),
            light_runtime_ms=_LIGHT_MS,
            light_tasks={"said": True},
        )
        host, pool = None, self._chance.choice((256, 512, 1_024, 2_048)) * MIB
        on = "a" if is_crowded else self._chance.choice(("", "a", "a", "b"))
        if on:
            assert capacity.memory_bytes is not None
            pool = max(pool, capacity.memory_bytes)
            host = self._share(on, pool)
            capacity = msgspec.structs.replace(capacity, pool=on, pool_bytes=pool)
        return ClaimingWorker(
            self.broker,
            name,
            queues,
            capacity=capacity,
            chance=self._chance,
            host=host,
            peaks=self._peaks,
        )

    def _share(self, on: str, pool_bytes: int) -> HostShare:
        """Return a share of the memory of a host."""
        owner = Record(1 + len(self._ledgers), 1)
        ledger = HostLedger(self._folder / f"{on}.ledger", owner, is_alive=lambda _: True)
        self._ledgers.append(ledger)
        return HostShare([Pool(ledger, pool_bytes)], on)

    def _free_some(self) -> None:
        """Let jobs end while the queue is paused, so that there is room and nobody takes it."""
        for worker in self.workers:
            for job in list(worker.running):
                if self._chance.random() < 0.5:
                    worker.complete(job)

    def _hold_back(self) -> None:
        """Let workers hold something back: all, jobs in children, or room for one that waits."""
        for worker in self.workers:
            drawn = 0.5 if self._theme == "kept" else self._chance.random()
            worker.is_quiet = drawn < 0.15
            worker.is_pressed = worker.runs_lone and 0.1 < drawn < 0.4
            if not worker.is_quiet and not worker.is_pressed and drawn < 0.8:
                worker.hold_gate()

    def _enqueue(self, queue: str, *, kind: str = "plain", sizes: Sequence[int] = _SIZES) -> JobId:
        self.clock.advance(1)
        spec = self._spec(sizes)
        parents: tuple[Parent, ...] = ()
        if kind == "parents":
            self._parents.append(self._enqueue("parents"))
            parents = (Parent(self._parents[-1]),)
        job = self._ids.draw(self.clock.wall_ms(), self._tags[queue], self._chance.getrandbits(48))
        request = r.EnqueueRequest(
            id=job, queue=queue, spec=spec, parents=parents,
            delay_ms=_DELAY_MS if kind == "due" else None,
        )  # fmt: skip
        [answer] = self.broker.enqueue([request])
        assert isinstance(answer, r.Accepted), answer
        return job

    def _spec(self, sizes: Sequence[int]) -> JobSpec:
        """Draw what a job needs: declared, learned, a child without a word, or a coroutine."""
        memory, task = None, "t"
        match self._chance.randrange(12):
            case 0:
                need = SHARED
            case 1:
                need = ALONE
            case 2:
                need, task = learned_need("learned", None), "learned"
            case 3 | 4:
                need, task = THREAD, self._chance.choice(("t", "light", "long", "said"))
            case _:
                memory = self._chance.choice(sizes)
                need = sized_need(memory)
        if is_alone(need) and self._chance.random() < (0.1 if self._theme == "kept" else 0.4):
            need = need_with(self._chance.choice(_DEMANDS), need)
        priority = self._chance.choice((3, 5, 5, 5, 9))
        return JobSpec(
            task=task, payload=msgspec.Raw(b"{}"), need=need, memory_bytes=memory, priority=priority
        )

    def settle_down(self) -> None:
        """Let the workers take what they can, in their order, until nobody can take more."""
        for queue in ("q", "r"):
            self.broker.promote([queue], limit=r.BATCH_MAX)
        idle = 0
        # Once more when nothing came: one of them may have let go of room that it kept.
        while idle < 2:
            came = [worker.take_all() for worker in self.workers]
            idle = 0 if any(came) else idle + 1
        for worker in self.workers:
            worker.tell()

    def record(self, job: JobId) -> JobRecord:
        """Return what the broker knows of a job."""
        record = self.broker.get(job)
        assert record is not None, job
        return record

    @property
    def is_started(self) -> bool:
        """Whether the job that is asked about has started."""
        return self.record(self.target).state is State.RUNNING

    def explain(self) -> Explanation:
        """Explain it, from what any client sees."""
        counts = self.broker.counts()
        return explain(
            Scene(
                record=self.record(self.target),
                counts=next(one for one in counts if one.queue == "q"),
                leases=self.broker.leases(),
                footprints=self.broker.footprints(["learned", "light", "long", "said"]),
                now_ms=self.clock.wall_ms(),
                paused=frozenset(one.queue for one in counts if one.paused),
                queued=self._in(State.QUEUED),
                running=self._in(State.RUNNING),
            )
        )

    def _in(self, state: State) -> tuple[JobRecord, ...]:
        where = r.JobFilter(states=(state,))
        return self.broker.list_jobs(where, limit=r.BATCH_MAX, before=None).jobs

    def take_away(self, kinds: frozenset[str], found: Explanation) -> None:
        """Take all of these out of the job's way at once, and let the workers take what they can.

        "jobs" takes away every other job, those that run among them. A worker more that takes away
        only that others are full is bound as they are by what else was found to stand in the way.
        """
        if "parents" in kinds:
            self._finish_parents()
        if "due" in kinds:
            self.clock.advance(_DELAY_MS)
        if "jobs" in kinds:
            for worker in self.workers:
                for job in list(worker.running):
                    worker.complete(job)
        if kinds & {"ahead", "jobs"}:
            # Who takes those away that are ahead leaves the one for which room is kept.
            is_gate = any("gate" in one.obstacles for one in found.workers)
            is_gate_left = is_gate and not kinds & {"gate", "jobs"} and not kinds >= {*found.kinds}
            kept = {one.held_for for one in self.workers} if is_gate_left else set()
            others = [
                one.id
                for one in self._in(State.QUEUED)
                if one.id != self.target and (one.queue, one.spec.need) not in kept
            ]
            if others:
                self.broker.cancel(others)
        for worker in self.workers:
            worker.lift(kinds)
        if kinds & SPACE:
            self.workers.append(self._one_more(kinds, found))
        if "paused" in kinds:
            self.broker.resume("q")
        self.settle_down()

    def _one_more(self, kinds: frozenset[str], found: Explanation) -> ClaimingWorker:
        """Return a worker with room for the job, and for no other beside it.

        Where the workers that could hold the job are full, it is a part of one of them: whatever
        else keeps that one from taking the job keeps this one too, unless it is of these kinds.
        """
        capacity = self._just_enough(found.reservation_bytes or 0)
        common = common_obstacles(found)
        if "full" not in common:
            return self._part_of(None, capacity)
        like = next(one.worker for one in found.workers if common == set(one.obstacles))
        landlord = next(one for one in self.workers if one.name == like)
        has, need = landlord.capacity, self.record(self.target).spec.need
        if "limit" not in kinds and landlord.is_at_limit("q", need):
            capacity = msgspec.structs.replace(capacity, queue_limits=has.queue_limits)
        if "host" not in kinds and landlord.lacks_pool("q", need):
            # As much is wanted of the pool as the other one counts the largest job of a set as; and
            # what that one wants left free is for itself.
            capacity = msgspec.structs.replace(
                capacity,
                memory_bytes=has.memory_bytes,
                pool=has.pool,
                pool_bytes=(has.pool_bytes or 0) + landlord.wanted_bytes,
            )
        part = self._part_of(landlord, capacity)
        part.is_quiet, part.is_pressed = landlord.is_quiet, landlord.is_pressed
        return part

    def _part_of(self, landlord: ClaimingWorker | None, has: Capacity) -> ClaimingWorker:
        return ClaimingWorker(
            self.broker, "z", ("q",), capacity=has, chance=self._chance, landlord=landlord,
            peaks=self._peaks,
            host=None if has.pool_bytes is None else self._share(has.pool, has.pool_bytes),
        )  # fmt: skip

    def _just_enough(self, reservation_bytes: int) -> Capacity:
        """Return what a worker has that can take the job and no other beside it."""
        spec = self.record(self.target).spec
        demand = demand_of(spec.need)
        assert demand is not None
        gpus = demand.gpus or int(demand.gpu_memory_bytes > 0)
        return Capacity(
            memory_bytes=max(1, reservation_bytes),
            # A coroutine needs no slot of a child.
            slots=1 if reservation_bytes or spec.need == THREAD else 0,
            cpus_milli=demand.cpus_milli,
            labels=demand.labels,
            gpu_memory_bytes=(max(1, demand.gpu_memory_bytes),) * gpus,
            resources=dict(demand.resources),
        )

    def _finish_parents(self) -> None:
        everything = Capacity(
            memory_bytes=64 * GIB, slots=99, cpus_milli=99_000, labels=("eu", "us"),
            gpu_memory_bytes=(64 * GIB,) * 9, resources={"license": 99},
        )  # fmt: skip
        worker = ClaimingWorker(
            self.broker, "p", ("parents",), capacity=everything, chance=self._chance
        )
        worker.take_all()
        for job in list(worker.running):
            worker.complete(job)
