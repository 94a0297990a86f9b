"""A reaper for the cases: a worker that takes over, and that has been looking for a while."""

from __future__ import annotations

from penstock.broker import requests as r
from penstock.core.ids import Fence
from penstock.core.job import Claimed

from .scene import LEASE_MS, OTHER, QUEUE, TICK_MS, Scene


class Reaper:
    """Calls `reclaim` under a lease of its own, which it extends before each call.

    Attributes:
        lease: the taker's lease.
        taken: all jobs that it has taken, in order.
        closed: all leases that its calls have closed.
    """

    def __init__(self, scene: Scene, *queues: str) -> None:
        """Open the lease; nothing is called yet."""
        self.scene = scene
        self.queues = queues or (QUEUE, OTHER)
        self.lease = scene.lease(*self.queues, worker="reaper", pid=9999)
        self.taken: list[Claimed] = []
        self.closed: list[str] = []

    def request(self, *, limit: int = 100, fence: Fence | None = None) -> r.ReclaimRequest:
        """Return one request."""
        return r.ReclaimRequest(
            lease=self.lease,
            queues=self.queues,
            fence=self.scene.new_fence() if fence is None else fence,
            limit=limit,
            lease_ttl_ms=LEASE_MS,
        )

    def tick(self, *, limit: int = 100) -> r.ReclaimAnswer:
        """Look once."""
        self.scene.broker.extend([self.lease], ttl_ms=LEASE_MS)
        answer = self.scene.broker.reclaim(self.request(limit=limit))
        self.taken += answer.jobs
        self.closed += answer.closed
        return answer

    def look_for(self, ms: int) -> None:
        """Let `ms` pass and look every `TICK_MS`, at the end too."""
        while ms > 0:
            step = min(ms, TICK_MS)
            self.scene.harness.advance(step)
            self.tick()
            ms -= step

    def warm_up(self) -> Reaper:
        """Look until the grace window of the first call is over."""
        self.tick()
        self.look_for(LEASE_MS)
        assert self.tick().hold_ms == 0
        return self
