"""A worker reduced to its claims: the supervisor's own decisions over a broker in memory.

What it may take is decided as in `worker/supervisor/children.py`, by the same parts: `Offers`,
`Budget`, `Gate` and `room_for`. What it has taken runs until it is told to end.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Final, cast

import msgspec

from penstock import App
from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.core.admission import NO_ROOM, Gate, Room, Set, room_for
from penstock.core.capacity import Capacity, Stance
from penstock.core.devices import Device
from penstock.core.footprint import Run
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import SHARED, THREAD, Claimed
from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.need import is_alone
from penstock.core.pace import Kind
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Complete, Release
from penstock.worker.queue_room import QueueRoom
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.runner.threads import Threads
from penstock.worker.supervisor.budget import Budget
from penstock.worker.supervisor.claims import LoneClaim
from penstock.worker.supervisor.device_shares import DeviceShares
from penstock.worker.supervisor.grants import Misfit
from penstock.worker.supervisor.host_gate import HostGate
from penstock.worker.supervisor.host_share import HostShare
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.offers import Offers
from penstock.worker.supervisor.profiles import Profiles
from penstock.worker.supervisor.task_facts import Tasks

#: Milliseconds; longer than any situation.
_TTL_MS: Final = 10**12
#: Milliseconds of patience, of a clock that stands still but in `hold_gate`: nobody holds itself
#: free unless it is told to.
_PATIENCE_MS: Final = 1
#: Coroutines of a runner, its default.
_COROUTINES: Final = 100


_APP: Final = App("memory://")


def _nothing() -> None:
    """Stand for a plain function."""


for _name in ("t", "light", "long", "said"):
    _APP.task(name=_name, light=True if _name == "said" else None)(_nothing)
TASKS: Final = _APP.registry


class ClaimingWorker:
    """One worker with its lease."""

    def __init__(
        self, broker: MemoryBroker, name: str, queues: tuple[str, ...],
        *, capacity: Capacity, chance: random.Random, host: HostShare | None = None,
        landlord: ClaimingWorker | None = None, peaks: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """Open the lease; nothing is claimed.

        Args:
            broker: from which it claims.
            name: of the worker.
            queues: that it serves.
            capacity: what it has.
            chance: draws its fences.
            host: the memory that it shares with others.
            landlord: whose jobs count for the limits of this one's queues too.
            peaks: what runs of the task `learned` took, in bytes.
        """
        self.name = name
        self.capacity = capacity
        self._broker = broker
        self._queues = queues
        self._chance = chance
        self._slots = capacity.slots or 0
        self._threads = Threads(lambda _: None, full=0, light=capacity.light_slots or 0)
        self._threads.learn({"long": Kind.LONG, "said": Kind.LONG, "light": Kind.LIGHT})
        self._attempts: dict[JobId, RunnerAttempt] = {}
        self._lease = LeaseId(self._hex())
        tasks = Tasks()
        facts = TaskFacts(name="learned", queue="q", policy=POLICY_DEFAULT, memory_auto=True)
        tasks.learn(AppManifest(url="memory://", tasks=(facts,), queues=queues))
        # Nothing here asks the broker for what is learned.
        profiles = Profiles(cast("BrokerLink", None), tasks)
        for peak in peaks:
            profiles.ran("learned", Run(peak, None, 0))
        sizes = enumerate(capacity.gpu_memory_bytes)
        self._budget = Budget(
            capacity.memory_bytes or 0,
            tasks,
            profiles,
            capacity=capacity,
            gpus=DeviceShares([Device(f"{name}-{number}", size) for number, size in sizes]),
            host=host,
        )
        self._offers = Offers(queues)
        self._landlord = landlord
        self._bound(capacity.queue_limits)
        self._gate = Gate(_PATIENCE_MS)
        self._of_host = HostGate(self._budget)
        self.running: list[Claimed] = []
        self.is_quiet = self.is_pressed = False
        owner = r.Owner(name, "here", "boot", 0, 1, 0)
        broker.open_lease(
            r.OpenLease(
                id=self._lease, queues=queues, owner=owner, ttl_ms=_TTL_MS, capacity=capacity
            )
        )

    def _bound(self, limits: Mapping[str, int]) -> None:
        """Let queues have limits, for jobs in children and for those in runners."""
        self._limits = limits
        self._lone_room, self._shared_room = (
            QueueRoom(self._queues, limits, running=partial(self._queues_of, is_lone=is_lone))
            for is_lone in (True, False)
        )

    @property
    def _children(self) -> int:
        return sum(is_alone(job.spec.need) for job in self.running)

    def _queues_of(self, *, is_lone: bool) -> list[str]:
        jobs = [*self.running, *(self._landlord.running if self._landlord else ())]
        return [one.queue for one in jobs if is_alone(one.spec.need) is is_lone]

    def take_all(self) -> bool:
        """Claim until nothing more comes; return whether anything came."""
        came = False
        if self.is_quiet:
            self._shut()
            return came
        while self._take(r.Offer(queue, (SHARED,)) for queue in self._queues):
            came = True
        while self._take_best():
            came = True
        return came

    def tell(self) -> None:
        """Say what it does not take for the moment, as `StanceTeller` does."""
        stance = Stance(
            is_quiet=self.is_quiet,
            is_pressed=self.is_pressed,
            held_for=self.held_for,
            held_bytes=self._held_bytes,
            wanted_bytes=self.wanted_bytes,
        )
        now = msgspec.structs.replace(self.capacity, stance=stance)
        self._broker.restate(self._lease, now)

    def hold_gate(self) -> bool:
        """Hold itself free for a set that waits and does not fit, if it may; return whether."""
        waiting, fitting = self._waiting()
        for one in waiting:
            if one not in fitting:
                gate = Gate(_PATIENCE_MS)
                gate.let_through([one], [], 0)
                gate.let_through([one], [], _PATIENCE_MS, may_hold=self._of_host.hold_for)
                if gate.holder is not None:
                    self._gate = gate
                return gate.holder is not None
        return False

    @property
    def held_for(self) -> Set | None:
        """The set for which it holds itself free."""
        return self._gate.holder

    @property
    def wanted_bytes(self) -> int:
        """What others that share its memory are to leave free; nothing once that set is empty."""
        if self._budget.host is None or not self._held_bytes:
            return 0
        return self._budget.host.wanted_bytes

    @property
    def _held_bytes(self) -> int:
        if self.held_for is None or self.held_for not in self._waiting()[0]:
            return 0
        return self._budget.counting.bytes_of(self.held_for)

    def is_at_limit(self, queue: str, need: str) -> bool:
        """Whether it may run no more jobs of a queue that are in such a set."""
        room = self._lone_room if is_alone(need) else self._shared_room
        return not room.is_open(queue)

    def lacks_pool(self, queue: str, need: str) -> bool:
        """Whether others that share its memory have left too little for a job of a set."""
        budget = self._budget
        if budget.host is None or not is_alone(need):
            return False
        most_bytes = budget.counting.bytes_of((queue, need))
        return most_bytes > budget.host.free_bytes(budget.reserved_bytes)

    @property
    def runs_lone(self) -> bool:
        """Whether it runs a job in a child."""
        return bool(self._queues_of(is_lone=True))

    def _shut(self) -> None:
        self._gate.open()
        self._of_host.open()

    def _take_best(self) -> bool:
        """Claim the best job of all that threads and children can take."""
        room = self._room()
        needs = {queue: list(one) for queue, one in self._thread_needs().items()}
        for queue, need in room.sets if room.jobs else ():
            needs.setdefault(queue, []).append(need)
        if not needs:
            return False
        request = self._request((r.Offer(queue, tuple(one)) for queue, one in needs.items()), 1)
        # Who claims for threads alone promises nothing.
        if room.jobs and not self._budget.promise(LoneClaim(request), room.each):
            return False
        jobs = self._claim(request)
        if not jobs or is_alone(jobs[0].spec.need):
            self._gate.passed(room.sets)
            if self._gate.holder is None:
                self._of_host.open()
        return bool(jobs)

    def _thread_needs(self) -> dict[str, tuple[str, ...]]:
        """Return the ready sets from which threads may take a job now, by queue."""
        self._threads.full_max = self._slots - self._children
        needs, free = self._threads.claimable()
        open_queues = [queue for queue in self._queues if self._shared_room.is_open(queue)]
        return dict.fromkeys(open_queues, needs) if free > 0 else {}

    def _room(self) -> Room:
        """Return what a claim for children may ask for."""
        budget = self._budget
        budget.look(self._broker.leases())
        if self.is_pressed and self.runs_lone:
            self._shut()
            return NO_ROOM
        waiting, fitting = self._waiting()
        let_through = self._gate.let_through(
            waiting,
            fitting,
            _PATIENCE_MS,
            competes=budget.competes,
            may_hold=self._of_host.hold_for,
        )
        if self._gate.holder is None:
            self._of_host.open()
        else:
            self._of_host.hold_memory(self._gate.holder)
        slots = self._slots - self._children - self._threads.full_busy
        amounts_of = budget.counting.amounts_of
        return room_for(let_through, amounts_of=amounts_of, free=budget.free, slots=slots)

    def _waiting(self) -> tuple[list[Set], list[Set]]:
        """Return the sets of which it could take jobs, and those of them that fit now."""
        paused = {one.queue for one in self._broker.counts() if one.paused}
        found = self._broker.needs(self._queues)
        self._offers.learn({queue: needs for queue, needs in found.items() if queue not in paused})
        sets = [one for one in self._offers.sets if self._lone_room.is_open(one[0])]
        waiting = [one for one in sets if self._budget.counting.could_hold(one)]
        free = self._budget.free
        return waiting, [one for one in waiting if not self._budget.short_of(one, free)]

    def _take(self, offers: Iterable[r.Offer]) -> bool:
        request = self._shared_room.limited(self._request(offers, _COROUTINES))
        return bool(request.offers) and bool(self._claim(request))

    def _request(self, offers: Iterable[r.Offer], limit: int) -> r.ClaimRequest:
        return r.ClaimRequest(
            lease=self._lease,
            offers=tuple(offers),
            limit=limit,
            fence=Fence(self._hex()),
        )

    def _claim(self, request: r.ClaimRequest) -> Sequence[Claimed]:
        jobs = self._broker.claim(request).jobs
        self._budget.keep_promised([])
        for job in jobs:
            need = self._begin(job)
            if need is None:
                self.running.append(job)
            else:
                release = Release(
                    id=job.id, fence=job.fence, outcome="does_not_fit", charges=job.charges,
                    need=need,
                )  # fmt: skip
                self._broker.settle([release])
        self._budget.publish()
        return jobs

    def _begin(self, job: Claimed) -> str | None:
        """Begin a job; return the set that it belongs to if it cannot begin here."""
        if is_alone(job.spec.need):
            grant = self._budget.grant(job)
            return grant.need if isinstance(grant, Misfit) else None
        if job.spec.need == THREAD:
            task = TASKS[job.spec.task]
            elsewhere = self._threads.elsewhere(task)
            if elsewhere is not None:
                return elsewhere.need
            attempt = self._attempts[job.id] = cast(
                "RunnerAttempt", SimpleNamespace(took=None, registration=task)
            )
            self._threads.begin(attempt, task)
        return None

    def lift(self, obstacles: Collection[str]) -> None:
        """Take away what keeps it from taking jobs that it has room for, by the names of `explain`.

        What was running runs on.
        """
        if "host" in obstacles:
            self._budget.host = None
        if "gate" in obstacles:
            self._shut()
            self._gate = Gate(_PATIENCE_MS)
        if "pressure" in obstacles:
            self.is_pressed = False
        if "quiet" in obstacles:
            self.is_quiet = False
        if "limit" in obstacles:
            self._bound({queue: most for queue, most in self._limits.items() if queue != "q"})

    def complete(self, job: Claimed) -> None:
        """End one of its jobs."""
        self._broker.settle(
            [Complete(id=job.id, fence=job.fence, outcome="succeeded", result=None)]
        )
        self._budget.give_back(job)
        self._budget.publish()
        if job.id in self._attempts:
            self._threads.end(self._attempts.pop(job.id), is_success=False)
        self.running.remove(job)

    def _hex(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"
