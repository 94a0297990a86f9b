"""A worker reduced to its claims: the supervisor's own decisions over a broker in memory.

What it may take is decided as in `worker/supervisor/children.py`, by the same parts: `Offers`,
`Budget`, `Gate` and `room_for`. What it has taken runs until it is told to end.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Final, cast

from penstock.broker import requests as r
from penstock.brokers.memory import MemoryBroker
from penstock.core.admission import Gate, room_for
from penstock.core.capacity import Capacity
from penstock.core.devices import Device
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import SHARED, Claimed
from penstock.core.settlement import Complete, Release
from penstock.worker.queue_room import QueueRoom
from penstock.worker.supervisor.budget import Budget
from penstock.worker.supervisor.claims import LoneClaim
from penstock.worker.supervisor.device_shares import DeviceShares
from penstock.worker.supervisor.grants import Misfit
from penstock.worker.supervisor.host_share import HostShare
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.offers import Offers
from penstock.worker.supervisor.profiles import Profiles
from penstock.worker.supervisor.task_facts import Tasks

#: Milliseconds; longer than any situation.
_TTL_MS: Final = 10**12
#: Milliseconds of patience: here no worker holds itself free, which no broker tells.
_FOR_EVER_MS: Final = 10**12
#: Coroutines of a runner, its default.
_COROUTINES: Final = 100


class ClaimingWorker:
    """One worker with its lease."""

    def __init__(
        self, broker: MemoryBroker, name: str, queues: tuple[str, ...],
        *, capacity: Capacity, chance: random.Random, host: HostShare | None = None,
        landlord: ClaimingWorker | None = None,
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
        """
        self.name = name
        self.capacity = capacity
        self._broker = broker
        self._queues = queues
        self._chance = chance
        self._slots = capacity.slots or 0
        self._lease = LeaseId(self._hex())
        tasks = Tasks()
        # Nothing here asks the broker for what is learned.
        sizes = enumerate(capacity.gpu_memory_bytes)
        self._budget = Budget(
            capacity.memory_bytes or 0,
            tasks,
            Profiles(cast("BrokerLink", None), tasks),
            capacity=capacity,
            gpus=DeviceShares([Device(f"{name}-{number}", size) for number, size in sizes]),
            host=host,
        )
        self._offers = Offers(queues)
        self._landlord = landlord
        self._bound(capacity.queue_limits)
        self._gate = Gate(_FOR_EVER_MS)
        self.running: list[Claimed] = []
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

    def _queues_of(self, *, is_lone: bool) -> list[str]:
        jobs = [*self.running, *(self._landlord.running if self._landlord else ())]
        return [one.queue for one in jobs if (one.spec.need != SHARED) is is_lone]

    def take_all(self) -> bool:
        """Claim until nothing more comes; return whether anything came."""
        came = False
        while self._take(r.Offer(queue, (SHARED,)) for queue in self._queues):
            came = True
        while self._take_lone():
            came = True
        return came

    def _take_lone(self) -> bool:
        budget = self._budget
        budget.look(self._broker.leases())
        self._offers.learn(self._broker.needs(self._queues))
        sets = [one for one in self._offers.sets if self._lone_room.is_open(one[0])]
        waiting = [one for one in sets if budget.counting.could_hold(one)]
        free = budget.free
        fitting = [one for one in waiting if not budget.short_of(one, free)]
        let_through = self._gate.let_through(waiting, fitting, 0, competes=budget.competes)
        slots = self._slots - sum(job.spec.need != SHARED for job in self.running)
        room = room_for(
            let_through,
            amounts_of=budget.counting.amounts_of,
            free=free,
            slots=slots,
        )
        if not room.jobs:
            return False
        request = self._request(self._offers.of(room.sets), room.jobs)
        claim = LoneClaim(self._lone_room.limited(request))
        return budget.promise(claim, room.each) and self._claim(claim.request)

    def _take(self, offers: Iterable[r.Offer]) -> bool:
        request = self._shared_room.limited(self._request(offers, _COROUTINES))
        return bool(request.offers) and self._claim(request)

    def _request(self, offers: Iterable[r.Offer], limit: int) -> r.ClaimRequest:
        return r.ClaimRequest(
            lease=self._lease,
            offers=tuple(offers),
            limit=limit,
            fence=Fence(self._hex()),
        )

    def _claim(self, request: r.ClaimRequest) -> bool:
        jobs = self._broker.claim(request).jobs
        self._budget.keep_promised([])
        for job in jobs:
            grant = None if job.spec.need == SHARED else self._budget.grant(job)
            if isinstance(grant, Misfit):
                release = Release(
                    id=job.id, fence=job.fence, outcome="does_not_fit", charges=job.charges,
                    need=grant.need,
                )  # fmt: skip
                self._broker.settle([release])
            else:
                self.running.append(job)
        self._budget.publish()
        return bool(jobs)

    def lift(self, obstacles: Collection[str]) -> None:
        """Take away what keeps it from taking jobs that it has room for, by the names of `explain`.

        What was running runs on.
        """
        if "host" in obstacles:
            self._budget.host = None
        if "limit" in obstacles:
            self._bound({queue: most for queue, most in self._limits.items() if queue != "q"})

    def complete(self, job: Claimed) -> None:
        """End one of its jobs."""
        self._broker.settle(
            [Complete(id=job.id, fence=job.fence, outcome="succeeded", result=None)]
        )
        self._budget.give_back(job)
        self.running.remove(job)

    def _hex(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"
