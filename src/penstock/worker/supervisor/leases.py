"""Leases of the supervisor and its runners: opened, extended, renewed; cancels come with them.

One small write extends them all, however many jobs run. No process that runs user code has a part
in it, so a job that blocks its interpreter cannot lose its lease.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

import msgspec

from penstock.broker.requests import CancelNotice, OpenLease, Owner
from penstock.core.capacity import Capacity
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.pulse import Bell, retry_wait_s

from .cancels import Cancels
from .link import BrokerLink

_log = logging.getLogger("penstock.worker")

#: Seconds between two extensions at least, so that a burst of cancels costs few writes.
_GAP_S: Final = 0.02
#: Seconds: longest wait before an extension that failed is tried again. Shorter than elsewhere:
#: after an outage leases have to be re-asserted before anybody takes them for dead.
_RETRY_CAP_S: Final = 1.0


class Holder(Protocol):
    """Who runs jobs under a lease."""

    def renewed(self, lease: LeaseId, lost: LeaseId) -> None:
        """Work under `lease` from now on; jobs claimed under `lost` belong to others."""
        ...

    def extended(self, lease: LeaseId, runs_out_ms: int) -> None:
        """Be told that `lease` cannot run out before this instant of boot time."""
        ...

    def cancel(self, jobs: tuple[tuple[JobId, Fence], ...]) -> None:
        """Cancel these attempts, if they still run."""
        ...

    def overrun(self, jobs: tuple[tuple[JobId, Fence], ...]) -> None:
        """These attempts did not end in time after their cancel."""
        ...


class _Holding(msgspec.Struct, frozen=True):
    """Who holds a lease; `following` is the lease that takes its place if it is lost.

    Drawn beforehand, so that opening it can be repeated when the broker's answer is lost.
    """

    owner: Owner
    holder: Holder
    following: LeaseId


def draw_lease() -> LeaseId:
    """Return a lease id that was never used: 128 random bits."""
    return LeaseId(secrets.token_hex(16))


class Leases:
    """All leases of one worker.

    Attributes:
        bell: rung when a cancel may have been requested.
        own: the supervisor's own lease; empty until it is opened.
        capacity: what the worker can take, as each lease is opened with.
        extended_at_ms: boot time of the last extension that was answered.
    """

    def __init__(
        self, link: BrokerLink, *, queues: tuple[str, ...], ttl_ms: int, extend_ms: int,
        cancels: Cancels, wake_token: str | None, capacity: Capacity | None = None,
    ) -> None:  # fmt: skip
        """Open leases for `queues`; `wake_token` is where the broker nudges for a cancel.

        The capacity stands with each for others to read.
        """
        self._link = link
        self._queues = queues
        self._ttl_ms = ttl_ms
        self._extend_ms = extend_ms
        self._cancels = cancels
        self._wake_token = wake_token
        self.capacity = capacity
        self._held: dict[LeaseId, _Holding] = {}
        self._lost: dict[LeaseId, _Holding] = {}
        self._runs_out_ms: dict[LeaseId, int] = {}
        self._opening: dict[LeaseId, None] = {}
        self.bell = Bell()
        self.own = LeaseId("")
        self.extended_at_ms = link.clock.boot_ms()

    def __len__(self) -> int:
        """Return how many leases are held."""
        return len(self._held)

    async def open(self, owner: Owner, holder: Holder) -> LeaseId:
        """Open a lease for a process; return once the broker knows it."""
        lease, sent_ms = draw_lease(), self._now_ms()
        # Race: where the worker ends before this is answered, the broker may know it all the same.
        self._opening[lease] = None
        await self._link.insist(
            partial(self._link.broker.open_lease, self._request(lease, owner)),
            what=f"opening a lease for pid {owner.pid}",
        )
        # Fence: repeating it prolongs nothing, so that it counts from the first try.
        self._opening.pop(lease, None)
        self._held[lease] = _Holding(owner, holder, draw_lease())
        self._note_extended([lease], sent_ms)
        return lease

    async def open_own(self, owner: Owner, holder: Holder) -> None:
        """Open the lease under which the supervisor itself claims and takes over."""
        self.own = await self.open(owner, holder)

    def forget(self, holder: Holder) -> list[LeaseId]:
        """Stop extending what `holder` has, which is about to be closed; return those leases."""
        gone = [lease for lease, one in self._held.items() if one.holder is holder]
        gone += [one.following for one in self._lost.values() if one.holder is holder]
        self._held = {lease: one for lease, one in self._held.items() if one.holder is not holder}
        self._lost = {lease: one for lease, one in self._lost.items() if one.holder is not holder}
        return gone

    def forget_all(self) -> list[LeaseId]:
        """Stop extending anything; return what was held, or was about to be."""
        gone = [*self._held, *self._opening, *(one.following for one in self._lost.values())]
        self._opening.clear()
        self._held.clear()
        self._lost.clear()
        return gone

    def runs_out_ms(self, lease: LeaseId) -> int:
        """Return the instant of boot time before which a lease cannot run out; 0: it is not held.

        Counted from the sending of the last extension that was answered.
        """
        return self._runs_out_ms.get(lease, 0) if lease in self._held else 0

    async def run(self) -> None:
        """Extend for ever: at each interval, when rung, and when a cancel may be overdue."""
        failures = 0
        while True:
            try:
                await self._extend()
            except (Unavailable, OutcomeUnknown):
                failures += 1
                self._cancels.restart(self._now_ms())
                await asyncio.sleep(retry_wait_s(failures, cap_s=_RETRY_CAP_S))
                continue
            failures = 0
            await asyncio.sleep(_GAP_S)
            await self.bell.sleep(self._wait_ms() / 1000)

    def _wait_ms(self) -> int:
        again_ms = self._cancels.look_again_in_ms(self._now_ms())
        return self._extend_ms if again_ms is None else min(again_ms, self._extend_ms)

    async def _extend(self) -> None:
        for lost in list(self._lost):
            await self._renew(lost)
        leases, sent_ms = list(self._held), self._now_ms()
        if not leases:
            return
        answer = await self._link.ask(self._link.broker.extend(leases, ttl_ms=self._ttl_ms))
        self.extended_at_ms = self._now_ms()
        self._note_extended((one for one in leases if one not in answer.lost), sent_ms)
        told = self._cancels.told(answer.cancels, self.extended_at_ms)
        self._deliver(told.fresh, overrun=False)
        self._deliver(told.overdue, overrun=True)
        for lease in answer.lost:
            if lease in self._held:
                self._lost[lease] = self._held.pop(lease)
                await self._renew(lease)

    async def _renew(self, lost: LeaseId) -> None:
        """Open a new lease in the place of one that was taken over."""
        holding = self._lost[lost]
        lease = holding.following
        # Fence: as in `open`; here the tries are many calls.
        sent_ms = self._runs_out_ms.setdefault(lease, self._now_ms() + self._ttl_ms) - self._ttl_ms
        await self._link.ask(self._link.broker.open_lease(self._request(lease, holding.owner)))
        # Race: the holder may have died meanwhile; then nobody wants the new lease, it runs out.
        if self._lost.pop(lost, None) is None:
            return
        self._held[lease] = _Holding(holding.owner, holding.holder, draw_lease())
        if self.own == lost:
            self.own = lease
        _log.warning(
            "the lease of pid %d was lost: its jobs belong to others now, their results will be "
            "refused; going on under a new lease",
            holding.owner.pid,
        )
        holding.holder.renewed(lease, lost)
        self._note_extended([lease], sent_ms)

    def _note_extended(self, leases: Iterable[LeaseId], sent_ms: int) -> None:
        runs_out_ms = sent_ms + self._ttl_ms
        # Race: a holder may have been forgotten while the broker was asked.
        told = {lease: self._held[lease].holder for lease in leases if lease in self._held}
        kept = (*self._held, *(one.following for one in self._lost.values()))
        known = self._runs_out_ms
        self._runs_out_ms = {one: known[one] for one in kept if one in known}
        for lease, holder in told.items():
            self._runs_out_ms[lease] = runs_out_ms
            holder.extended(lease, runs_out_ms)

    def _deliver(self, notices: Iterable[CancelNotice], *, overrun: bool) -> None:
        by_lease: dict[LeaseId, list[tuple[JobId, Fence]]] = {}
        for notice in notices:
            by_lease.setdefault(notice.lease, []).append((notice.id, notice.fence))
        for lease, jobs in by_lease.items():
            holding = self._held.get(lease)
            if holding is not None:
                told = holding.holder.overrun if overrun else holding.holder.cancel
                told(tuple(jobs))

    def _request(self, lease: LeaseId, owner: Owner) -> OpenLease:
        return OpenLease(
            id=lease,
            queues=self._queues,
            owner=owner,
            ttl_ms=self._ttl_ms,
            wake_token=self._wake_token,
            capacity=self.capacity,
        )

    def _now_ms(self) -> int:
        return self._link.clock.boot_ms()
