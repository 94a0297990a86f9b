"""The history turned round: per job, what happened to it, with places in the order of the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tests.support import history as h

E = TypeVar("E")


@dataclass(frozen=True)
class At(Generic[E]):
    """An event and its place in the order of the file."""

    place: int
    event: E


@dataclass
class JobHistory:
    """All events of one job, each list in order."""

    accepted: list[At[h.Accepted]] = field(default_factory=list)
    refused: list[At[h.EnqueueFailed]] = field(default_factory=list)
    starts: list[At[h.Started]] = field(default_factory=list)
    effects: list[At[h.SideEffect]] = field(default_factory=list)
    lives: list[At[h.Lived]] = field(default_factory=list)
    notes: list[At[h.Noted]] = field(default_factory=list)
    ends: list[At[h.Ended]] = field(default_factory=list)
    replies: list[At[h.FinishReplied]] = field(default_factory=list)
    cancels: list[At[h.CancelReplied]] = field(default_factory=list)
    requeues: list[At[h.Requeued]] = field(default_factory=list)
    forgotten: list[At[h.Forgotten]] = field(default_factory=list)

    def start_of(self, attempt: int) -> At[h.Started] | None:
        """Return the first start of an attempt."""
        return next((at for at in self.starts if at.event.attempt == attempt), None)

    def end_of(self, attempt: int) -> At[h.Ended] | None:
        """Return the end of an attempt, None where it was cut off or still runs."""
        return next((at for at in self.ends if at.event.attempt == attempt), None)


@dataclass
class Ledger:
    """The whole history, by job and by process.

    Attributes:
        hits: pid -> place of the first fault that hit it.
        faults: all faults, in order.
    """

    jobs: dict[str, JobHistory]
    hits: dict[int, int]
    faults: list[At[h.Fault]]

    def is_excused(self, pid: int, *, before: int | None = None) -> bool:
        """Tell whether a fault hit this process, before a place in the order if one is given."""
        place = self.hits.get(pid)
        return place is not None and (before is None or place < before)


#: Field of `JobHistory` that takes each type of event.
_FIELDS: dict[type, str] = {
    h.Accepted: "accepted",
    h.EnqueueFailed: "refused",
    h.Started: "starts",
    h.SideEffect: "effects",
    h.Lived: "lives",
    h.Noted: "notes",
    h.Ended: "ends",
    h.FinishReplied: "replies",
    h.CancelReplied: "cancels",
    h.Requeued: "requeues",
    h.Forgotten: "forgotten",
}


def keep_ledger(events: Iterable[h.Event]) -> Ledger:
    """Sort events by job; their order in `events` is taken as the order of the world."""
    jobs: dict[str, JobHistory] = defaultdict(JobHistory)
    hits: dict[int, int] = {}
    faults: list[At[h.Fault]] = []
    for place, event in enumerate(events):
        if isinstance(event, h.Fault):
            faults.append(At(place, event))
            for pid in event.pids:
                hits.setdefault(pid, place)
        else:
            getattr(jobs[event.job], _FIELDS[type(event)]).append(At(place, event))
    return Ledger(jobs=dict(jobs), hits=hits, faults=faults)
