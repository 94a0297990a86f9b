"""Who is measured on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contestants import Contestant
from benchmarks.entries.sqlite import counted

#: What a contestant with its defaults takes part in.
DEFAULTS = frozenset({"drain"})
#: What Penstock counts as completed: changes of the counters, folded and not yet folded.
COMPLETED = """
SELECT coalesce(sum(jobs), 0)
FROM (SELECT * FROM penstock.counter UNION ALL SELECT * FROM penstock.count_change) AS counted
WHERE state = 'completed'
"""


def everybody() -> list[Contestant]:
    """Return everybody who is measured on PostgreSQL, Penstock first."""
    penstock = Contestant(
        "penstock", "fsync", "penstock_server",
        ("penstock", "worker", "penstock_server:app"), counted(COMPLETED), None, 10_000,
        prepare=True,
    )  # fmt: skip
    module = ("procrastinate", "--app", "procrastinate_postgres.app", "worker")
    procrastinate = Contestant(
        "procrastinate", "tuned", "procrastinate_postgres", (*module, "-c", "100"),
        counted("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"),
        "procrastinate", 1_500, prepare=True,
    )  # fmt: skip
    # Its default level, which its command line does not take when it is left out.
    module_pgq = ("pgq", "run", "pgqueuer_postgres:main", "--log-level", "INFO")
    pgqueuer = Contestant(
        "pgqueuer", "tuned", "pgqueuer_postgres", (*module_pgq, "--batch-size", "100"),
        counted("SELECT {put} - count(*) FROM pgqueuer"),
        "pgqueuer", 6_000, prepare=True,
    )  # fmt: skip
    return [
        penstock,
        replace(penstock, variant="local"),
        procrastinate,
        replace(procrastinate, variant="default", worker=module, measures=DEFAULTS),
        pgqueuer,
        replace(
            pgqueuer, variant="default", worker=module_pgq, measures=DEFAULTS, drain_jobs=2_000
        ),
    ]
