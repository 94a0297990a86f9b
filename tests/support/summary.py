"""What a run came to, in numbers: jobs, faults, lost, repeated, and how fast jobs ran again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Protocol

import msgspec

from penstock.core.lifecycle import FINAL
from tests.support import history as h
from tests.support.dump import Dump
from tests.support.ledger import JobHistory, Ledger, keep_ledger
from tests.support.origin import Origin, origin

#: Milliseconds between two kills of F01. The plan's 400 keep two cores busy with starting workers,
#: so that the figures would tell of that; the proof, which publishes them, leaves the workers time
#: to work.
KILL_EVERY_MS, KILL_EVERY_MS_IN_PROOF = 400, 1_000


def chaos_seed() -> int:
    """Return the seed of the random scenarios: CHAOS_SEED of the environment, else 1."""
    return int(os.environ.get("CHAOS_SEED", "1"))


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


class Publish(Protocol):
    """Keeps the numbers of one scenario, and its history."""

    def __call__(self, row: Summary, events: Sequence[h.Event] = ()) -> None:
        """Keep them, in `make proof` only."""


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


def combined(scenario: str, rows: Sequence[Summary], seconds: float) -> Summary:
    """Return one row for many runs of a scenario."""
    return Summary(
        scenario=scenario,
        jobs=sum(row.jobs for row in rows),
        faults=sum(row.faults for row in rows),
        lost=sum(row.lost for row in rows),
        repeated=sum(row.repeated for row in rows),
        starts=sum(row.starts for row in rows),
        recovery_ms=sorted(ms for row in rows for ms in row.recovery_ms),
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


def as_report(rows: Sequence[Summary], made: Origin, seed: int) -> str:
    """Return the report of a proof: where it comes from, how to read it, and its rows."""
    return REPORT.format(
        origin=made,
        seed=seed,
        proof_s=KILL_EVERY_MS_IN_PROOF / 1000,
        test_s=KILL_EVERY_MS / 1000,
        table=as_table(rows),
    )


def main() -> None:
    """Write the report of a folder from the rows in it; print it too."""
    folder = Path(sys.argv[1])
    rows = [
        msgspec.json.decode(file.read_bytes(), type=Summary)
        for file in sorted(folder.glob("*.json"))
    ]
    report = as_report(rows, origin(), chaos_seed())
    (folder / "report.md").write_text(report)
    sys.stdout.write(report)


#: What stands around the table.
REPORT = """# Faults on real processes

{origin}, seed {seed} (CHAOS_SEED).

Written by `make proof AREA=faults`. One row is one scenario of `tests/chaos` with the large counts;
beside it lie its numbers (`.json`, each recovery in milliseconds) and, where it is not too large,
its history (`.history.jsonl.gz`), which the checker `tests/support/checker.py` has read.

- faults: what the test or a job did to a process, a call or a commit; a drain is one too.
- lost: accepted jobs that are not final in the end. The promise is 0.
- repeated: starts of a job after a fault cut off its attempt. A second start without a fault is a
  violation, and there was none, else this report would not have been written.
- recovery: from a fault to the next start of each job that it cut off; in the rows "recovery" from
  the start of the new worker. Leases are 2 s in the rows F01 to F23 (0.5 s in F09) and those of
  production, 12 s, in the rows "recovery".
- F01 kills every {proof_s:g} s here, and every {test_s:g} s, as its plan has it, in `make test`,
  where two cores are so busy with starting workers that the figures would tell of that.

What a lost worker costs, with production settings:

- same host: the new worker sees that the old processes are dead and takes their jobs at once;
- lost host (another boot): the lease runs out one lease after a reaper first saw it;
- after a gap (nobody looked for more than half a lease, as in an outage of the broker, while the
  machine was suspended, or because no worker was there): reapers hold for one full lease from their
  first look, so that live workers can extend before anything that merely ran out is taken. The slow
  case is the gap and one more lease. Dead processes of the same host are not affected by it.

{table}
"""

if __name__ == "__main__":
    main()
