"""What a broker forgot: accepted jobs that it does not know any more, and how new they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.support import history as h
from tests.support.dump import Dump
from tests.support.ledger import keep_ledger


class Cut(NamedTuple):
    """A fault that takes what was not on the disk.

    Attributes:
        down_ns: boot time just before it.
        back_ns: boot time just before the broker was started again. Every producer has noticed by
            then that it was away, so that what was accepted before is in the history.
    """

    down_ns: int
    back_ns: int


class Loss(NamedTuple):
    """An accepted job that is gone.

    Attributes:
        job: its id.
        durability: class that the broker told.
        age_ms: how long before the fault that took it the producer had its answer.
        ran: its user code had started.
    """

    job: str
    durability: str | None
    age_ms: float
    ran: bool


def losses(events: Sequence[h.Event], dump: Dump, cuts: Sequence[Cut]) -> list[Loss]:
    """Return what was lost; each by the first cut after its acceptance."""
    found = []
    for job, told in keep_ledger(events).jobs.items():
        if not told.accepted or job in dump.jobs or told.forgotten:
            continue
        accepted = told.accepted[0].event
        cut = next((one for one in cuts if one.back_ns > accepted.at_ns), None)
        assert cut is not None, f"{job} is gone, and nothing happened after it was accepted"
        age_ms = max(0, cut.down_ns - accepted.at_ns) / 1e6
        found.append(Loss(job, accepted.durability, age_ms, bool(told.starts)))
    return found


def run_again(events: Sequence[h.Event]) -> int:
    """Return how many starts there were beyond the first of each job."""
    starts = h.of_type(h.Started, events)
    return len(starts) - len({start.job for start in starts})
