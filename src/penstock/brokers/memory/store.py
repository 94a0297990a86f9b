"""What the memory broker holds: plain data, and the one function that moves a job.

Each index follows from the jobs: `move` takes a job out of the indexes of its old state and puts it
into those of the new one, so that an index cannot drift from the state.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

import msgspec

from penstock.broker.requests import OpenLease
from penstock.core.clock import Clock
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import NO_CHARGES, AttemptRecord, Charges, Parent, Reason
from penstock.core.lifecycle import FINAL, WAITING, Event, State, advance
from penstock.core.need import wait_set
from penstock.core.rank import rank_of

from .ordered import Ordered
from .wakeup import Wakeups

ReadySet = tuple[str, str]
"""(queue, need)."""


class Job(msgspec.Struct, kw_only=True):
    """One job. The spec stays as it was written; the rest changes.

    Attributes:
        spec: the immutable record, as JSON.
        need: the ready set it enters; an outcome may have chosen another than its spec.
        arrived_at: since when it is claimable: its due time, or when nothing held it back.
        fence: of the claim it runs under; None: it does not run.
        lease: the lease it runs under.
        result_drop_at: when its result is dropped; None: with the job.
        Others as in `JobRecord` and `JobSpec`.
    """

    id: JobId
    queue: str
    spec: bytes
    task: str
    key: str | None
    priority: int
    spec_need: str
    expires_ms: int | None
    result_ttl_ms: int | None
    parents: tuple[Parent, ...]
    enqueued_at: int
    need: str
    arrived_at: int
    state: State | None = None
    due_at: int | None = None
    expires_at: int | None = None
    finished_at: int | None = None
    reason: Reason | None = None
    claim_number: int = 0
    charges: Charges = NO_CHARGES
    parents_left: int = 0
    cancel_requested: bool = False
    attempts: list[AttemptRecord] = msgspec.field(default_factory=list)
    result: bytes | None = None
    result_dropped: bool = False
    result_drop_at: int | None = None
    progress: bytes | None = None
    checkpoint: bytes | None = None
    log: list[str] = msgspec.field(default_factory=list)
    fence: Fence | None = None
    lease: LeaseId | None = None
    claimed_at: int = 0

    @property
    def place(self) -> tuple[int, JobId]:
        """Its place in a ready set."""
        return rank_of(self.priority, self.arrived_at), self.id


class Lease(msgspec.Struct, kw_only=True):
    """One lease.

    Attributes:
        opened: as it was asked for.
        boot_id: boot under which `expires_at` was stamped.
        expires_at: boot time at which it runs out.
        closed: for ever.
        jobs: the jobs that run under it.
    """

    opened: OpenLease
    boot_id: str
    expires_at: int
    closed: bool = False
    jobs: dict[JobId, None] = msgspec.field(default_factory=dict)


class KeyHold(msgspec.Struct, frozen=True):
    """An idempotency key in its window. It outlives its job, and remembers how that ended."""

    job_id: JobId
    digest: str | None
    until: int
    last_state: State


class Store:
    """All jobs, leases and queues of one memory broker; handles on it share it.

    Not thread-safe by itself: a broker holds `lock` around every verb.
    """

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self.clock = clock
        self.lock = threading.RLock()
        self.tags: dict[str, int] = {}
        self.jobs: dict[JobId, Job] = {}
        self.ids: Ordered[JobId] = Ordered()
        self.children: defaultdict[JobId, dict[JobId, bool]] = defaultdict(dict)
        self.counters: Counter[tuple[str, State]] = Counter()
        self.ready: defaultdict[ReadySet, Ordered[tuple[int, JobId]]] = defaultdict(Ordered)
        self.due: defaultdict[str, Ordered[tuple[int, JobId]]] = defaultdict(Ordered)
        self.deadlines: defaultdict[str, Ordered[tuple[int, JobId]]] = defaultdict(Ordered)
        self.finished: defaultdict[tuple[str, State], Ordered[tuple[int, JobId]]] = defaultdict(
            Ordered
        )
        self.results: defaultdict[str, Ordered[tuple[int, JobId]]] = defaultdict(Ordered)
        self.leases: dict[LeaseId, Lease] = {}
        self.keys: dict[tuple[str, str], KeyHold] = {}
        self.paused: set[str] = set()
        self.footprints: defaultdict[str, defaultdict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        self.reaper_tick: tuple[str, int] | None = None
        self.reaper_hold_until: int = 0
        self.wakeups = Wakeups()
        self._fresh: Counter[ReadySet] = Counter()

    def insert(self, job: Job, to: State) -> None:
        """Store a new job in its first state. (none) --enqueue--> `to`."""
        self.jobs[job.id] = job
        self.ids.add(job.id)
        for parent in job.parents:
            if parent.id in self.jobs:
                self.children[parent.id][job.id] = parent.ignore_failure
        advance(None, Event.ENQUEUE, to)
        self._enter(job, to)

    def move(self, job: Job, event: Event, to: State) -> None:
        """Move `job` to the state `to`, with its counters and indexes.

        Raises:
            InvalidTransition: the lifecycle table has no such row; nothing was changed.
        """
        advance(job.state, event, to)
        self._leave(job)
        self._enter(job, to)

    def forget(self, job: Job) -> None:
        """Remove a final job, its edges and its record. final --prune--> (none)."""
        advance(job.state, Event.PRUNE, None)
        self._leave(job)
        for parent in job.parents:
            self.children.get(parent.id, {}).pop(job.id, None)
        self.children.pop(job.id, None)
        self.ids.remove(job.id)
        del self.jobs[job.id]

    def wake_sleepers(self) -> None:
        """Wake as many sleepers as the jobs that have become claimable can feed."""
        for (queue, need), count in self._fresh.items():
            if queue not in self.paused:
                jobs = min(count, len(self.ready[queue, need]))
                self.wakeups.wake((queue, wait_set(need)), jobs)
        self._fresh.clear()

    def _leave(self, job: Job) -> None:
        state = job.state
        assert state is not None  # noqa: S101 - narrows the type; `advance` refused None
        self.counters[job.queue, state] -= 1
        if state is State.QUEUED:
            self.ready[job.queue, job.need].remove(job.place)
        elif state in (State.SCHEDULED, State.RETRYING):
            self.due[job.queue].remove((job.due_at or 0, job.id))
        elif state is State.RUNNING and job.lease is not None:
            del self.leases[job.lease].jobs[job.id]
            job.fence = job.lease = None
        elif state in FINAL:
            self.finished[job.queue, state].remove((job.finished_at or 0, job.id))
            self.unindex_result(job)
        if state in WAITING and job.expires_at is not None:
            self.deadlines[job.queue].remove((job.expires_at, job.id))

    def _enter(self, job: Job, to: State) -> None:
        job.state = to
        self.counters[job.queue, to] += 1
        if to is State.QUEUED:
            self.ready[job.queue, job.need].add(job.place)
            self._fresh[job.queue, job.need] += 1
        elif to in (State.SCHEDULED, State.RETRYING):
            self.due[job.queue].add((job.due_at or 0, job.id))
        elif to in FINAL:
            self.finished[job.queue, to].add((job.finished_at or 0, job.id))
            if job.result_drop_at is not None:
                self.results[job.queue].add((job.result_drop_at, job.id))
        if to in WAITING and job.expires_at is not None:
            self.deadlines[job.queue].add((job.expires_at, job.id))

    def unindex_result(self, job: Job) -> None:
        """Take the job's result out of the index of results that run out."""
        if job.result_drop_at is not None:
            self.results[job.queue].remove((job.result_drop_at, job.id))
            job.result_drop_at = None
