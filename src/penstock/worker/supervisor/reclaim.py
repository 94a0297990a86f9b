"""Jobs of the dead: taken over, judged, settled.

Three ways in: a runner of this worker died and its supervisor says so (`after_death`); a whole
worker died on this host and its processes are gone (early release); a lease ran out.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from penstock.broker.requests import BATCH_MAX, LeaseFacts, ReclaimAnswer, ReclaimRequest
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import Claimed, StoredError
from penstock.core.need import runs_alone
from penstock.core.outcome import Lost, Outcome, PayloadUnreadable
from penstock.core.partition import is_loss_charged
from penstock.core.wording import counted
from penstock.errors import OutcomeUnknown, Unavailable

from .identity import Identity
from .leases import Leases
from .link import BrokerLink
from .settling import Settler, Verdict
from .task_facts import Tasks

_log = logging.getLogger("penstock.worker")

#: Deaths of own processes remembered; a job of an older one counts as lost without a witness.
_DEATHS_KEPT: Final = 256

Explain = Callable[[Claimed], Outcome]
"""Says how an attempt ended whose process died."""


class Reclaim:
    """Takes over jobs whose lease is closed or has run out, and settles them.

    Attributes:
        looked_at_ms: boot time of the last look that the broker answered.
        hold_ms: told by the broker: nothing that merely ran out is taken for this long.
        taken: jobs taken over since the start.
        before_takeover: awaited before the jobs of dead workers of this host are taken over.
        seen: told of all leases at each look.
    """

    def __init__(
        self, link: BrokerLink, settler: Settler, *, tasks: Tasks, identity: Identity,
        queues: tuple[str, ...], leases: Leases, lease_ttl_ms: int, interval_ms: int,
    ) -> None:  # fmt: skip
        """Take over for `queues`, under the supervisor's own lease of `leases`."""
        self._link = link
        self._settler = settler
        self._tasks = tasks
        self._identity = identity
        self._queues = queues
        self._lease_ttl_ms = lease_ttl_ms
        self._interval_ms = interval_ms
        self._leases = leases
        self._deaths: OrderedDict[int, Explain] = OrderedDict()
        self._lock = asyncio.Lock()
        self._unanswered: ReclaimRequest | None = None
        self.looked_at_ms = link.clock.boot_ms()
        self.hold_ms = 0
        self.taken = 0
        self.before_takeover: Callable[[], Awaitable[None]] | None = None
        self.seen: Callable[[Sequence[LeaseFacts]], None] = lambda _leases: None

    async def run(self) -> None:
        """Look at each interval, for ever."""
        while True:
            try:
                await self._release_orphans()
                await self._take_all()
            except (Unavailable, OutcomeUnknown) as error:
                _log.debug("reclaim: %s; again in %d ms", error, self._interval_ms)
            await asyncio.sleep(self._interval_ms / 1000)

    async def after_death(self, pid: int, leases: Sequence[LeaseId], explain: Explain) -> None:
        """Close the leases of a process of this worker that died, and settle what ran under them.

        Returns once the broker has answered everything.
        """
        # Race: another worker's reaper may take the jobs between the two calls below and count
        # them as lost: charged no harder, only their cause is not known.
        self._deaths[pid] = explain
        self._deaths.move_to_end(pid)
        while len(self._deaths) > _DEATHS_KEPT:
            self._deaths.popitem(last=False)
        if leases:
            await self._link.insist(
                partial(self._link.broker.close_leases, leases), what="closing the lease of a dead"
            )
        await self._link.insist(self._take_all, what="taking over the jobs of a dead")

    def born(self, pid: int) -> None:
        """Forget the death of an earlier process whose number a new runner has now."""
        self._deaths.pop(pid, None)

    async def _release_orphans(self) -> None:
        """Close the leases of dead workers of this host, without waiting until they run out."""
        leases = await self._link.ask(self._link.broker.leases())
        self.seen(leases)
        orphans = self._identity.orphaned(leases)
        if not orphans:
            return
        if self.before_takeover is not None:
            await self.before_takeover()
        await self._link.ask(self._link.broker.close_leases([one.id for one in orphans]))
        for one in orphans:
            _log.warning(
                "worker %s (pid %d) is dead: its lease is closed, %s taken over",
                one.owner.worker,
                one.owner.pid,
                counted(one.running, "job is", "jobs are"),
            )

    async def _take_all(self) -> None:
        """Take over and settle in batches, until there is nothing left to take."""
        async with self._lock:
            while True:
                answer = await self._take()
                self.looked_at_ms = self._link.clock.boot_ms()
                began = bool(answer.hold_ms and not self.hold_ms)
                self.hold_ms = answer.hold_ms
                self.taken += len(answer.jobs)
                if answer.jobs:
                    await self._settler.settle(
                        [Verdict(job, self._judge(job), job.pid) for job in answer.jobs]
                    )
                if began:
                    await self._tell_hold(answer.hold_ms)
                if len(answer.jobs) < BATCH_MAX:
                    return

    async def _take(self) -> ReclaimAnswer:
        # Fence: a call whose reply was lost is repeated as it was, else what it took would run
        # under this lease with a fence that nobody knows.
        request = self._unanswered
        if request is None or request.lease != self._leases.own:
            request = ReclaimRequest(
                lease=self._leases.own,
                queues=self._queues,
                fence=Fence(secrets.token_hex(16)),
                limit=BATCH_MAX,
                lease_ttl_ms=self._lease_ttl_ms,
            )
        elif not await self._is_open(request.lease):
            return ReclaimAnswer(jobs=(), closed=())
        self._unanswered = request
        answer = await self._link.ask(self._link.broker.reclaim(request))
        self._unanswered = None
        return answer

    async def _is_open(self, lease: LeaseId) -> bool:
        """Extend a lease under which something may have been taken; return whether it is open.

        Race: a lease that ran out while the broker was away gives nothing, not even what it gave
        before; extended a moment later it lives again, and what it gave runs under it for ever.
        """
        extend = self._link.broker.extend([lease], ttl_ms=self._lease_ttl_ms)
        answer = await self._link.ask(extend)
        return lease not in answer.lost

    def _judge(self, job: Claimed) -> Outcome:
        if job.flaw is not None:
            return PayloadUnreadable(StoredError("payload_unreadable", job.flaw))
        witness = self._deaths.get(job.pid or 0)
        if witness is not None and job.worker == self._identity.worker:
            return witness(job)
        text = f"worker {job.worker} (pid {job.pid}) went away, and nobody saw how"
        is_charged = is_loss_charged(
            alone=runs_alone(job.spec, job.charges),
            on_partition=self._tasks.on_partition(job.spec.task),
            charges=job.charges,
        )
        return Lost(StoredError("lost", text), alone=is_charged)

    async def _tell_hold(self, hold_ms: int) -> None:
        # On a new file, and wherever nothing runs, there is nothing that could be left alone.
        if any(one.running for one in await self._link.ask(self._link.broker.counts())):
            _log.info(
                "nobody looked for lost jobs for a while (an outage, a suspended host, or the "
                "first worker): leases that ran out are left alone for %.1f s, so that living "
                "workers can extend theirs",
                hold_ms / 1000,
            )
