"""What does each choice in the layout of the SQLite file cost or save?

The statements of the adapter run on its schema without the adapter around them, and on variants of
both, in turn within each round, at synchronous NORMAL: jobs are inserted (500 a transaction), then
claimed and completed (100 a transaction, and one a transaction). Printed is the lower decile of all
transactions, as microseconds per job: what the work costs when nothing else disturbs it.

Run: python -m benchmarks.scenarios.sqlite_layout [--rounds 3]
"""

from __future__ import annotations

import argparse
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from penstock.broker.requests import Offer
from penstock.brokers.sqlite.claim import heads_statement
from penstock.brokers.sqlite.connection import PAGE_BYTES, connect
from penstock.brokers.sqlite.statements import read_sql, read_statements

JOBS = 10_000
INSERTS = 500
CLAIMS = 100
#: Jobs of which each is claimed and completed in a transaction of its own.
SINGLES = 500
SPEC = b'{"task":"bench.noop","payload":{"user":{"id":123456,"email":"user@example.com"}}}'
STATES = (
    "blocked", "scheduled", "queued", "running", "retrying", "completed", "dead", "cancelled",
    "expired",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A schema, the statements of one job's life, and how a connection is set up."""

    schema: str = read_sql("schema")
    insert: str = read_statements("enqueue")["insert"]
    heads: str = heads_statement((Offer("q", ("shared",)),))
    take: str = read_statements("claim")["take"]
    held: str = read_statements("settle")["held"]
    complete: str = read_statements("settle")["complete"]
    queued: str | int = "queued"
    pragmas: tuple[str, ...] = (f"page_size = {PAGE_BYTES}",)
    peeks: bool = False

    def edit(self, change: Callable[[str], str]) -> Layout:
        """Return the layout with `change` made in every text."""
        names = ("schema", "insert", "heads", "take", "held", "complete")
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)


def integer_states(text: str) -> str:
    """Write states as small integers."""
    text = text.replace("state TEXT NOT NULL", "state INTEGER NOT NULL")
    return re.sub(rf"'({'|'.join(STATES)})'", lambda m: str(STATES.index(m[1])), text)


def without_rowid(text: str) -> str:
    """Store the job in the index of its id."""
    text = text.replace("  no INTEGER PRIMARY KEY,\n  id TEXT NOT NULL UNIQUE,\n  queue", (
        "  id TEXT PRIMARY KEY,\n  queue"
    ), 1)  # fmt: skip
    body = text.find("END\n  )\n) STRICT;")
    if body >= 0:
        text = text.replace("END\n  )\n) STRICT;", "END\n  )\n) STRICT, WITHOUT ROWID;", 1)
    text = re.sub(r"\b(job|head)\.no\b", r"\1.id", text)
    return re.sub(r"\bno, |(?<=WHERE )no(?= =)", lambda m: "id, " if ", " in m[0] else "id", text)


def checks_by_list(text: str) -> str:
    """Write the CHECK as lists of states."""
    start = text.find("  CHECK (\n    CASE state")
    if start < 0:
        return text
    end = text.index(") STRICT;", start)
    names = ", ".join(f"'{state}'" for state in STATES)
    final = "'completed', 'dead', 'cancelled', 'expired'"
    return (
        f"{text[:start]}  CHECK (state IN ({names})),\n"
        f"  CHECK ((state IN ({final})) = (finished_at IS NOT NULL)),\n"
        f"  CHECK ((state = 'running') = (lease IS NOT NULL))\n{text[end:]}"
    )


def no_checks(text: str) -> str:
    """Leave the CHECK out."""
    start = text.find(",\n  -- One CASE")
    return text if start < 0 else text[:start] + "\n" + text[text.index(") STRICT;", start) :]


def without_index(name: str) -> Callable[[str], str]:
    """Leave one index out."""
    return lambda text: re.sub(rf"CREATE INDEX {name} ON.*?;", "", text, flags=re.DOTALL)


BUILT = Layout()
LAYOUTS: dict[str, Layout] = {
    "as built": BUILT,
    "WITHOUT ROWID": BUILT.edit(without_rowid),
    "states as integers": replace(BUILT.edit(integer_states), queued=STATES.index("queued")),
    "CHECK with lists": BUILT.edit(checks_by_list),
    "no CHECK": BUILT.edit(no_checks),
    "insert with RETURNING": replace(BUILT, insert=f"{BUILT.insert}\nRETURNING id"),
    "planner looks at values": replace(BUILT, peeks=True),
    "pages of 1 KiB": replace(BUILT, pragmas=("page_size = 1024", "wal_autocheckpoint = 4000")),
    "pages of 4 KiB": replace(BUILT, pragmas=("page_size = 4096", "wal_autocheckpoint = 1000")),
    "cache of 16 MB": replace(BUILT, pragmas=(*BUILT.pragmas, "cache_size = -16000")),
    "checkpoint at 16 MiB": replace(BUILT, pragmas=(*BUILT.pragmas, "wal_autocheckpoint = 8000")),
    "no index for prune": BUILT.edit(without_index("job_final")),
    "no index for reclaim": BUILT.edit(without_index("job_running")),
}


Samples = dict[str, list[float]]
"""Step -> microseconds per job of each of its transactions."""


def live(layout: Layout, path: Path, samples: Samples) -> None:
    """Insert, claim and complete all jobs on a fresh file, and note the time of each step."""
    connection = connect(str(path), busy_timeout_s=1, creates=True)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, int(not layout.peeks))
    for pragma in (*layout.pragmas, "journal_mode = wal", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute(layout.schema)
    cursor = connection.cursor()
    now = time.time_ns() // 1_000_000

    def step(name: str, jobs: int, work: Callable[[], None]) -> None:
        started = time.perf_counter()
        cursor.execute("BEGIN IMMEDIATE")
        work()
        cursor.execute("COMMIT")
        spent_us = (time.perf_counter() - started) * 1e6
        samples.setdefault(name, []).append(spent_us / jobs)

    for first in range(0, JOBS, INSERTS):
        rows = [
            (
                f"{now + place // 50:012x}{place % 50:04x}0001{secrets.token_hex(6)}", 1,
                layout.queued, "bench.noop", 5, "shared", now, now, *[None] * 6, 0, SPEC,
            )
            for place in range(first, first + INSERTS)
        ]  # fmt: skip
        step("insert", INSERTS, partial(consume, cursor, layout.insert, rows))
    running: list[tuple[str, str]] = []
    for _ in range((JOBS - SINGLES) // CLAIMS):
        step("cycle", CLAIMS, lambda: cycle(layout, cursor, now, running, CLAIMS))
    for _ in range(SINGLES):
        step("single", 1, lambda: cycle(layout, cursor, now, running, 1))
    connection.close()


def consume(cursor: apsw.Cursor, sql: str, rows: Sequence[apsw.Bindings]) -> None:
    """Run a statement for each row, to its end."""
    cursor.executemany(sql, rows).fetchall()


def cycle(
    layout: Layout, cursor: apsw.Cursor, now: int, running: list[tuple[str, str]], jobs: int
) -> None:
    """Complete what runs, and claim `jobs` jobs."""
    held = [cursor.execute(layout.held, row).fetchall()[0] for row in running]
    ends = [(row[0], now, "succeeded", 1, None, b"null", 0) for row in held]
    cursor.executemany(layout.complete, ends).fetchall()
    fence = secrets.token_hex(16)
    heads = cursor.execute(layout.heads, (now, 1, "shared", now, jobs)).fetchall()
    takes = [(row[2], fence, 1, "worker", 1, now) for row in heads]
    cursor.executemany(layout.take, takes).fetchall()
    running[:] = [(str(row[1]), fence) for row in heads]


def decile(samples: list[float]) -> float:
    """Return the lower decile."""
    return sorted(samples)[len(samples) // 10]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    samples: dict[str, Samples] = {name: {} for name in LAYOUTS}
    for _ in range(options.rounds):
        for name, layout in LAYOUTS.items():
            with tempfile.TemporaryDirectory() as folder:
                live(layout, Path(folder) / "layout.db", samples[name])
    print(f"{'microseconds per job':28}{'insert':>9}{'settle + claim':>16}{'one by one':>12}")
    for name in LAYOUTS:
        insert, batch, one = (decile(samples[name][step]) for step in ("insert", "cycle", "single"))
        print(f"{name:28}{insert:9.2f}{batch:16.2f}{one:12.1f}")


if __name__ == "__main__":
    main()
