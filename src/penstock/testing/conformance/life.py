"""One whole life of a broker as a list of calls, to be broken at every one of them.

`live` drives it through a broker that may fail: a call that was refused or whose answer was lost is
made again, as every caller may. Whatever fails, the end must be that of a life without faults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core import settlement as s
from penstock.core.job import ALONE, SHARED, Parent, Reason
from penstock.core.lifecycle import FINAL
from penstock.errors import OutcomeUnknown, Unavailable

from .harness import Harness
from .scene import LEASE_MS, OTHER, QUEUE, Scene, bury, complete, release, retry, snooze
from .snapshot import Snapshot, snapshot

Answer = TypeVar("Answer")

#: Times one call is made before a broker counts as broken; a plan fails a call once.
TRIES_MAX: Final = 5


def live(harness: Harness, wrap: Callable[[Broker], Broker]) -> Snapshot:
    """Live one life on a fresh store through `wrap(broker)`; return what is there at its end."""
    scene = Scene(harness)
    honest = scene.broker
    scene.broker = wrap(honest)
    _Life(scene).run()
    scene.broker = honest
    scene.check_counters()
    return snapshot(honest)


def again(call: Callable[[], Answer]) -> Answer:
    """Make `call` until it answers."""
    for _ in range(TRIES_MAX - 1):
        try:
            return call()
        except (Unavailable, OutcomeUnknown):
            continue
    return call()


class _Life:
    """The script. Each step uses every answer that a real caller would use, and no other."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.broker = scene.broker
        self.offers = (r.Offer(QUEUE, (SHARED, ALONE)), r.Offer(OTHER, (SHARED,)))

    def run(self) -> None:
        again(lambda: self.broker.register([QUEUE, OTHER, "third"]))
        self._enqueue()
        self._work()
        self._lose_a_worker()
        self._operate()
        self._tidy()

    def _enqueue(self) -> None:
        scene = self.scene
        self.plain = [scene.job(priority=9) for _ in range(6)]
        merge = scene.job(after=tuple(job.id for job in self.plain[:2]))
        tail = scene.job(OTHER, after=(merge.id,))
        ignoring = scene.job(after=(Parent(self.plain[2].id, ignore_failure=True),))
        doomed = scene.job(after=(self.plain[2].id,))
        keyed = scene.job(OTHER, key="k", key_digest="d", result_ttl_ms=10)
        late = scene.job(expires_ms=100, priority=0, need="alone.m9")
        later = scene.job(delay_ms=50, expires_ms=9_000_000)
        self.graph = [merge, tail, ignoring, doomed]
        self.keyed = keyed
        batch = [*self.plain, *self.graph, keyed, late, later]
        again(lambda: self.broker.enqueue(batch))
        other = scene.job(key="k2", key_digest="d", task="t")
        again(lambda: self.broker.enqueue([other]))

    def _open(self, worker: str) -> r.OpenLease:
        lease = r.OpenLease(
            id=self.scene.new_lease_id(),
            queues=(QUEUE, OTHER),
            owner=self.scene.owner(worker),
            ttl_ms=LEASE_MS,
        )
        again(lambda: self.broker.open_lease(lease))
        return lease

    def _work(self) -> None:
        """Every kind of settlement, alone and in a cycle, with notes and a cancel between."""
        self.lease = self._open("worker-1").id
        request = self.scene.request(self.lease, *self.offers, limit=4)
        jobs = again(lambda: self.broker.claim(request)).jobs
        raw = msgspec.Raw(b'{"done":1}')
        note = r.Note(id=jobs[0].id, fence=jobs[0].fence, progress=raw, checkpoint=raw)
        again(lambda: self.broker.note([note]))
        again(lambda: self.broker.cancel([jobs[3].id]))
        again(lambda: self.broker.extend([self.lease], ttl_ms=LEASE_MS))
        batch: list[s.Settlement] = [
            complete(jobs[0], b"1"), complete(jobs[1], b"2"),
            bury(jobs[2], Reason.POISON), retry(jobs[3]),
        ]  # fmt: skip
        following = self.scene.request(self.lease, *self.offers, limit=3)
        _, answer = again(lambda: self.broker.cycle(batch, following))
        first, second, third = answer.jobs
        rest: list[s.Settlement] = [retry(first), snooze(second), release(third)]
        again(lambda: self.broker.settle(rest))
        self.scene.harness.advance(200)
        again(lambda: self.broker.promote([QUEUE, OTHER], limit=100))
        again(lambda: self.broker.expire([QUEUE, OTHER], limit=100))

    def _lose_a_worker(self) -> None:
        """A worker dies with jobs in its hands, and another takes them over."""
        lost = self._open("worker-2").id
        request = self.scene.request(lost, *self.offers, limit=2)
        again(lambda: self.broker.claim(request))
        again(lambda: self.broker.close_leases([lost]))
        reclaim = r.ReclaimRequest(
            lease=self.lease,
            queues=(QUEUE, OTHER),
            fence=self.scene.new_fence(),
            limit=10,
            lease_ttl_ms=LEASE_MS,
        )
        taken = again(lambda: self.broker.reclaim(reclaim)).jobs
        first, second = sorted(taken, key=lambda job: job.id)
        settlements: list[s.Settlement] = [release(first), complete(second, b"3")]
        again(lambda: self.broker.settle(settlements))

    def _operate(self) -> None:
        again(lambda: self.broker.requeue([self.plain[2].id]))
        again(lambda: self.broker.pause(QUEUE))
        request = self.scene.request(self.lease, *self.offers, limit=100)
        jobs = again(lambda: self.broker.claim(request)).jobs
        batch: list[s.Settlement] = [complete(job, b"4") for job in jobs]
        again(lambda: self.broker.settle(batch))
        again(lambda: self.broker.resume(QUEUE))
        again(lambda: self.broker.cancel([self.graph[1].id]))
        again(lambda: self.broker.delete([self.plain[0].id]))
        again(lambda: self.broker.peek([self.plain[1].id, self.plain[0].id]))
        again(lambda: self.broker.get(self.plain[1].id))

    def _tidy(self) -> None:
        self.scene.harness.advance(1_000)
        rules = [r.Retention(state=state, age_ms=900, count_max=50) for state in sorted(FINAL)]
        again(lambda: self.broker.prune([QUEUE, OTHER], rules, limit=100))
        repeat = self.scene.job(OTHER, key="k", key_digest="d")
        again(lambda: self.broker.enqueue([repeat]))
        again(self.broker.counts)
        again(lambda: self.broker.needs([QUEUE, OTHER]))
        again(self.broker.leases)
        again(lambda: self.broker.list_jobs(r.JobFilter(), limit=10, before=None))
