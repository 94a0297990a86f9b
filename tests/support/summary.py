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
#: so that the figures would tell of that.
KILL_EVERY_MS = 1_000
#: What a whole proof must come to on each broker.
JOBS_MIN, FAULTS_MIN = 20_000, 2_000
#: The brokers of the suite, and their titles in the report.
TITLES = {"postgres": "PostgreSQL", "redis": "Redis", "sqlite": "SQLite"}
BROKERS = tuple(TITLES)


def chaos_seed() -> int:
    """Return the seed of the random scenarios: CHAOS_SEED of the environment, else 1."""
    return int(os.environ.get("CHAOS_SEED", "1"))


def chaos_scale() -> float:
    """Return what part of the large counts a proof runs: CHAOS_SCALE of the environment, else 1."""
    return float(os.environ.get("CHAOS_SCALE", "1"))


class Summary(msgspec.Struct, kw_only=True):
    """One row of the proof's table.

    Attributes:
        broker: what it ran on: "sqlite", "redis" or "postgres".
        jobs: accepted ones.
        faults: injected by the test or by the jobs themselves.
        lost: accepted, and neither final nor deleted after it was.
        repeated: starts beyond the first that followed an attempt cut off by a fault.
        starts: all of them.
        recovery_ms: from a fault to the next start of each job that it cut off, sorted.
        seconds: wall time of the scenario.
        may_lose: the row measures what a weaker class of durability loses; totals leave it out.
        lost_age_ms: how long before the fault the oldest of the lost was accepted, where measured.
    """

    scenario: str
    broker: str
    jobs: int
    faults: int
    lost: int
    repeated: int
    starts: int
    recovery_ms: list[float]
    seconds: float
    may_lose: bool = False
    lost_age_ms: float = 0.0

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


def summarise(
    scenario: str,
    events: Sequence[h.Event],
    dump: Dump,
    seconds: float,
    *,
    may_lose: bool = False,
) -> Summary:
    """Count one scenario, on the broker that the dump is of."""
    ledger = keep_ledger(events)
    accepted = {job: events for job, events in ledger.jobs.items() if events.accepted}
    recovery = sorted(ms for events in accepted.values() for ms in _recoveries(ledger, events))
    return Summary(
        scenario=scenario,
        broker=dump.broker,
        jobs=len(accepted),
        faults=len(ledger.faults),
        lost=sum(not _is_kept(job, events, dump) for job, events in accepted.items()),
        repeated=len(recovery),
        starts=sum(len(events.starts) for events in accepted.values()),
        recovery_ms=recovery,
        seconds=round(seconds, 1),
        may_lose=may_lose,
    )


def combined(scenario: str, rows: Sequence[Summary], seconds: float) -> Summary:
    """Return one row for many runs on one broker."""
    (broker,) = {row.broker for row in rows}
    return Summary(
        scenario=scenario,
        broker=broker,
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


def total_of(rows: Sequence[Summary]) -> Summary:
    """Return what the rows of one broker come to, but for those that may lose.

    Without recovery: leases differ from row to row.
    """
    counted = [row for row in rows if not row.may_lose]
    total = combined("total", counted or rows, sum(row.seconds for row in rows))
    total.recovery_ms = []
    return total


def as_table(rows: Sequence[Summary]) -> str:
    """Return the rows of one broker as a Markdown table, with their total."""
    lines = [
        "| scenario | jobs | faults | lost | repeated | starts | recovery p50 / p99 ms | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in (*rows, total_of(rows)):
        recovery = row.recovery()
        told = "-" if recovery is None else f"{recovery[0]:.0f} / {recovery[1]:.0f}"
        lost = f"{row.lost} ({row.lost_age_ms / 1000:.2f} s)" if row.lost_age_ms else row.lost
        lines.append(
            f"| {row.scenario} | {row.jobs} | {row.faults} | {lost} | {row.repeated} "
            f"| {row.starts} | {told} | {row.seconds} |"
        )
    return "\n".join(lines)


def by_broker(rows: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Return the rows of each broker, in the order of their names."""
    return {
        broker: sorted((row for row in rows if row.broker == broker), key=lambda row: row.scenario)
        for broker in sorted({row.broker for row in rows})
    }


def shortfalls(rows: Sequence[Summary]) -> list[str]:
    """Return where the rows are not what a whole proof must come to, one line each."""
    found = []
    for broker in BROKERS:
        mine = by_broker(rows).get(broker)
        if not mine:
            found.append(f"{broker}: no row")
            continue
        total = total_of(mine)
        if total.lost:
            found.append(f"{broker}: {total.lost} accepted jobs lost")
        if total.jobs < JOBS_MIN:
            found.append(f"{broker}: {total.jobs} jobs, not {JOBS_MIN}")
        if total.faults < FAULTS_MIN:
            found.append(f"{broker}: {total.faults} faults, not {FAULTS_MIN}")
    return found


def as_report(rows: Sequence[Summary], made: Origin, seed: int, scale: float = 1.0) -> str:
    """Return the report of a proof: where it comes from, how to read it, and its rows."""
    tables = [
        f"## {TITLES.get(broker, broker)}\n\n{as_table(mine)}\n"
        for broker, mine in by_broker(rows).items()
    ]
    return REPORT.format(
        origin=made,
        seed=seed,
        scaled="" if scale == 1.0 else f" Counts cut to {scale:g} of a whole proof (CHAOS_SCALE).",
        kill_every_s=KILL_EVERY_MS / 1000,
        left_out="" if any(NAMESPACE in row.scenario for row in rows) else LEFT_OUT,
        tables="\n".join(tables),
    )


def main() -> None:
    """Write the report of a folder from the rows in it; print it too.

    Exits with 1 where a whole proof comes to less than it must.
    """
    folder = Path(sys.argv[1])
    rows = [
        msgspec.json.decode(file.read_bytes(), type=Summary)
        for file in sorted(folder.glob("*.json"))
    ]
    scale = chaos_scale()
    report = as_report(rows, origin(), chaos_seed(), scale)
    (folder / "report.md").write_text(report)
    sys.stdout.write(report)
    if scale == 1.0 and (found := shortfalls(rows)):
        sys.exit("\n".join(["the proof fell short:", *found]))


#: In the names of the rows that only root can make, and what is said where there is none.
NAMESPACE = "network namespace"
LEFT_OUT = """- Not run here: F10 over links of network namespaces, which root alone may make;
  `make netns` runs it. The rows F10 are over a proxy.
"""
#: What stands around the table.
REPORT = """# Faults on real processes

{origin}, seed {seed} (CHAOS_SEED).{scaled}

Written by `make proof AREA=faults`. One row is one scenario of `tests/chaos` with the large counts;
beside it lie its numbers (`.json`, each recovery in milliseconds) and, where it is not too large,
its history (`.history.jsonl.gz`), which the checker `tests/support/checker.py` has read.

- faults: what the test or a job did to a process, a call, a connection, a server or a commit; a
  drain is one too.
- lost: accepted jobs that are not final in the end. The promise is 0; a row that measures the loss
  of a weaker class of durability says so in its name and is not in the total. Behind its count
  stands how long before the fault the oldest of them was accepted.
- repeated: starts of a job after a fault cut off its attempt. A second start without a fault is a
  violation, and there was none, else this report would not have been written.
- recovery: from a fault to the next start of each job that it cut off; in the rows "recovery" from
  the start of the new worker; in F05 and F12, one for each worker and restart, from the server's
  first answer to the first job that this worker starts of those accepted afterwards. Leases are 2 s
  in the rows F01 to F23 (1 s in F09) and those of production, 12 s, in the rows "recovery".
- F05 kills a Redis that syncs always, class fsync. With everysec it puts writes off, for up to 2 s,
  that it has answered while a sync is under way, and a crash takes them: class local.
- F08 stopped workers: the first run of each job came back after its lease and wrote too late; no
  write of it landed.
- F18: each attempt of a hog is a fault; f18-*.md tells how far above its limit each came, as its
  processes counted it themselves. A start again is one with half as much memory again. F19: a bomb
  is 64 processes, or a daemon of two forks and a session of its own.
- F01 kills every {kill_every_s:g} s, and not every 0.4 s, at which two cores are so busy with
  starting workers that the figures would tell of that.
{left_out}
What a lost worker costs, with production settings:

- same host: the new worker sees that the old processes are dead and takes their jobs at once;
- lost host (another boot): the lease runs out one lease after a reaper first saw it;
- after a gap (nobody looked for more than half a lease, as in an outage of the broker, while the
  machine was suspended, or because no worker was there): reapers hold for one full lease from their
  first look, so that live workers can extend before anything that merely ran out is taken. The slow
  case is the gap and one more lease. Dead processes of the same host are not affected by it.

{tables}"""

if __name__ == "__main__":
    main()
