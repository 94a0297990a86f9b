"""What must be true of a Penstock file whatever happened to it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import apsw


def look(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of one statement on a connection of its own."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(5_000)
        return connection.execute(sql).fetchall()


def job_ids(path: Path) -> set[str]:
    """Return the ids of all jobs in the file."""
    return {str(row[0]) for row in look(path, "SELECT id FROM job")}


def check_whole(path: Path) -> None:
    """Assert that the file is sound and that its counters equal a recount of its jobs."""
    assert look(path, "PRAGMA integrity_check") == [("ok",)]
    truth = Counter({row[:2]: row[2] for row in look(path, RECOUNT)})
    kept = Counter({row[:2]: row[2] for row in look(path, "SELECT * FROM counter WHERE jobs > 0")})
    assert kept == truth


RECOUNT = "SELECT queue, state, COUNT(*) FROM job GROUP BY queue, state"
