"""What a run came to, in numbers: jobs, faults, lost, repeated, and how fast jobs ran again."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles

import msgspec

from penstock.core.lifecycle import FINAL
from tests.support import history as h
from tests.support.dump import Dump
from tests.support.ledger import JobHistory, Ledger, keep_ledger


class Summary(msgspec.Struct, kw_only=True):
    """One row of the proof's table.

    Attributes:
        jobs: accepted ones.
        faults: injected by the test or by the jobs themselves.
        lost: accepted, and neither final nor deleted after it was.
        repeated: starts beyond the first that followed an attempt cut off by a fault.
        starts: all of them.
        recovery_ms: from a fault to the next start of each job that it cut off, sorted.
        seconds: wall time of the scenario.
    """

    scenario: str
    jobs: int
    faults: int
    lost: int
    repeated: int
    starts: int
    recovery_ms: list[float]
    seconds: float

    def recovery(self) -> tuple[float, float] | None:
        """Return p50 and p99 of the recovery in milliseconds; None where nothing was cut off."""
        if not self.recovery_ms:
            return None
        if len(self.recovery_ms) == 1:
            return self.recovery_ms[0], self.recovery_ms[0]
        cuts = quantiles(self.recovery_ms, n=100, method="inclusive")
        return cuts[49], cuts[98]


def summarise(scenario: str, events: Sequence[h.Event], dump: Dump, seconds: float) -> Summary:
    """Count one scenario."""
    ledger = keep_ledger(events)
    accepted = {job: events for job, events in ledger.jobs.items() if events.accepted}
    recovery = sorted(ms for events in accepted.values() for ms in _recoveries(ledger, events))
    return Summary(
        scenario=scenario,
        jobs=len(accepted),
        faults=len(ledger.faults),
        lost=sum(not _is_kept(job, events, dump) for job, events in accepted.items()),
        repeated=len(recovery),
        starts=sum(len(events.starts) for events in accepted.values()),
        recovery_ms=recovery,
        seconds=round(seconds, 1),
    )


def _is_kept(job: str, events: JobHistory, dump: Dump) -> bool:
    record = dump.jobs.get(job)
    return bool(events.forgotten) if record is None else record.state in FINAL


def _recoveries(ledger: Ledger, events: JobHistory) -> list[float]:
    """Return, for each attempt that a fault cut off, the time from that fault to the next start."""
    found = []
    for older, newer in zip(events.starts, events.starts[1:], strict=False):
        place = ledger.hits.get(older.event.pid)
        end = events.end_of(older.event.attempt)
        if place is None or (end is not None and end.place < place):
            continue
        fault = next(at.event for at in ledger.faults if at.place == place)
        if older.place < place < newer.place:
            found.append((newer.event.at_ns - fault.at_ns) / 1e6)
    return found


def as_table(rows: Sequence[Summary]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| scenario | jobs | faults | lost | repeated | starts | recovery p50 / p99 ms | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        recovery = row.recovery()
        told = "-" if recovery is None else f"{recovery[0]:.0f} / {recovery[1]:.0f}"
        lines.append(
            f"| {row.scenario} | {row.jobs} | {row.faults} | {row.lost} | {row.repeated} "
            f"| {row.starts} | {told} | {row.seconds} |"
        )
    return "\n".join(lines)
