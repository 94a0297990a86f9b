"""Reading the invariants where the broker forgets: in two phases around each failover.

A job is *touched* by a failover if the last writes that were forgotten had changed it. Up to the
failover everything must hold for it as for any other job, in the store that was then. From there on
what was told about it counts no more: it may be gone, which is counted, or run again. All other
jobs, and the store as a whole, are held to every invariant from the first event to the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.brokers.memory import Store
from penstock.core.lifecycle import FINAL, State
from tests.support import history as h
from tests.support.checker import check
from tests.support.dump import Dump
from tests.support.violation import Violation

#: Invariants that hold only once a run is over.
_AT_THE_END = frozenset({"I1", "I12"})


class Losses(msgspec.Struct):
    """What the failovers of one run have forgotten.

    Attributes:
        touched: jobs, by id.
        unborn: of these, those that the store did not know any more.
        early: violations found at the failovers, of what was before them.
    """

    touched: set[str] = msgspec.field(default_factory=set)
    unborn: set[str] = msgspec.field(default_factory=set)
    early: list[Violation] = msgspec.field(default_factory=list)

    def failed_over(
        self, events: Sequence[h.Event], before: Store, dump: Dump, after: Store
    ) -> None:
        """Judge what was, and take in what is forgotten. `dump` is of `before`."""
        # Its last claim promotes what is due: what it hands out may have waited until then.
        found = check(self.others(events), msgspec.structs.replace(dump, claimable=()))
        self.early += [one for one in found if one.invariant not in _AT_THE_END]
        for job_id, job in before.jobs.items():
            if after.jobs.get(job_id) != job:
                self.touched.add(job_id)
            if job_id not in after.jobs:
                self.unborn.add(job_id)

    def others(self, events: Sequence[h.Event]) -> list[h.Event]:
        """Return the events of jobs that no failover touched, and the faults."""
        return [one for one in events if getattr(one, "job", None) not in self.touched]

    def violations(self, events: Sequence[h.Event], dump: Dump) -> list[Violation]:
        """Return what does not hold."""
        return [*self.early, *check(self.others(events), dump), *self._of_touched(events, dump)]

    def _of_touched(self, events: Sequence[h.Event], dump: Dump) -> list[Violation]:
        returned = {e.job for e in events if isinstance(e, h.Ended) and e.how == "returned"}
        found = []
        for job in sorted(self.touched):
            record = dump.jobs.get(job)
            if record is None:
                if job not in self.unborn:
                    found.append(Violation(job, "gone, and its enqueue was not forgotten", "I1"))
            elif record.state not in FINAL:
                found.append(Violation(job, f"touched, and not final but {record.state}", "I1"))
            elif record.state is State.COMPLETED and job not in returned:
                found.append(Violation(job, "completed, and no attempt ever returned", "I2"))
        return found

    def lost(self, events: Sequence[h.Event], dump: Dump) -> set[str]:
        """Return the accepted jobs that are gone."""
        accepted = {one.job for one in events if isinstance(one, h.Accepted)}
        return {job for job in self.touched & accepted if job not in dump.jobs}

    def again(self, events: Sequence[h.Event]) -> set[str]:
        """Return the touched jobs that ran although they had been settled for good."""
        settled: set[str] = set()
        found: set[str] = set()
        for one in events:
            if isinstance(one, h.FinishReplied) and one.reply == "ok" and one.final:
                settled.add(one.job)
            elif isinstance(one, h.Started) and one.job in settled & self.touched:
                found.add(one.job)
        return found
