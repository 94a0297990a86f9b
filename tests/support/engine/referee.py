"""Sees each call as the broker carries it out: writes the history, and excuses what must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.brokers.memory import Store
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.settlement import Applied, Bury, Cancel, Complete, Settlement
from tests.support import history as h
from tests.support.engine.loop import SimulatedLoop

#: Seconds for which a swallowed settlement or claim explains that a runner seems not to end a job:
#: it is tried again within five.
_SWALLOWED_S = 8.0


class Referee:
    """Beside the broker, and no part of it.

    Attributes:
        stale: settlements that were written under a fence that had moved on: there may be none.
        overtaken: leases whose close overtook their opening, or was forgotten: empty, they run out
            by themselves.
        has_forgotten: there was a failover; a cancelled job whose end it forgot seems not to end.
        on_unheard: told a process that lost its jobs, or its life, because the network swallowed
            what it said; an outage of the broker is no such reason.
    """

    def __init__(self, loop: SimulatedLoop, record: Callable[[h.Event], None]) -> None:
        """Write with `record`."""
        self.stale: list[str] = []
        self.overtaken: set[LeaseId] = set()
        self.has_forgotten = False
        self.on_unheard: Callable[[int], None] = lambda _pid: None
        self._loop = loop
        self._record = record
        self._attempts: dict[tuple[str, str], int] = {}
        self._unheard: dict[LeaseId, int] = {}
        self._swallowed: dict[int, float] = {}

    def swallows(self, verb: str, words: tuple[Any, ...], pid: int) -> None:
        """Note that the network loses or delays a call of a process."""
        if verb == "extend":
            for lease in words[0]:
                self._unheard[lease] = self._unheard.get(lease, 0) + 1
        elif verb in ("settle", "cycle", "claim"):
            self._swallowed[pid] = self._loop.now_s

    def killed_by_engine(self, pid: int) -> None:
        """Excuse a process that seemed not to end jobs whose ends were swallowed or forgotten."""
        if (
            self.has_forgotten
            or self._loop.now_s - self._swallowed.get(pid, -_SWALLOWED_S) < _SWALLOWED_S
        ):
            self.on_unheard(pid)

    def revived(self, before: Store, after: Store) -> None:
        """Note which leases are open again since a failover forgot their close."""
        self.overtaken.update(
            lease
            for lease, one in after.leases.items()
            if not one.closed and (lease not in before.leases or before.leases[lease].closed)
        )

    def fences(self, verb: str, words: tuple[Any, ...], store: Store) -> dict[JobId, Fence | None]:
        """Return the fences of what is about to be settled, as the store has them."""
        if verb not in ("settle", "cycle"):
            return {}
        return {one.id: store.jobs[one.id].fence for one in words[0] if one.id in store.jobs}

    def sees(
        self, verb: str, words: tuple[Any, ...], answer: Any, store: Store,
        fences: Mapping[JobId, Fence | None],
    ) -> None:  # fmt: skip
        """Take in what a verb did."""
        if verb in ("settle", "cycle"):
            self._settled(words[0], answer if verb == "settle" else answer[0], fences)
        if verb in ("claim", "cycle", "reclaim"):
            for job in (answer[1] if verb == "cycle" else answer).jobs:
                self._attempts[job.id, job.fence] = job.claim_number
        if verb == "reclaim":
            for lease in answer.closed:
                if self._unheard.get(lease):
                    self.on_unheard(store.leases[lease].opened.owner.pid)
        elif verb == "extend":
            for lease in words[0]:
                self._unheard.pop(lease, None)
        elif verb == "close_leases":
            self.overtaken.update(lease for lease in words[0] if lease not in store.leases)

    def _settled(
        self, items: Sequence[Settlement], answers: Sequence[Applied],
        fences: Mapping[JobId, Fence | None],
    ) -> None:  # fmt: skip
        """Write what the broker did when it did it: the caller may learn of it late, or never."""
        for item, answer in zip(items, answers, strict=True):
            if answer is not Applied.STALE and fences.get(item.id) != item.fence:
                self.stale.append(f"a stale {item.outcome} of job {item.id} was written")
            is_final = isinstance(item, Complete | Bury | Cancel) or answer is Applied.CANCELLED
            self._record(
                h.FinishReplied(
                    job=item.id,
                    attempt=self._attempts[item.id, item.fence],
                    reply="lease_lost" if answer is Applied.STALE else "ok",
                    final=is_final,
                )
            )
