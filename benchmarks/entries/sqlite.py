"""Who is measured on SQLite, in both classes of durability where it offers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contestants import Contestant, Done

if TYPE_CHECKING:
    from benchmarks.stores import PostgresServer, SqliteFile


def counted(sql: str) -> Done:
    """Return how to count results with one query; `{put}` stands for the jobs put in."""

    def done(place: SqliteFile | PostgresServer, _queues: tuple[str, ...], put: int) -> int:
        return place.number(sql.format(put=put))

    return done


def everybody() -> list[Contestant]:
    """Return everybody who is measured on SQLite, Penstock first."""
    penstock = ("penstock", "worker", "penstock_sqlite:app", "--log-level", "warning")
    huey = ("huey_consumer", "huey_sqlite.huey", "-k", "thread", "-w", "1", "-d", "0.005", "-m",
            "0.005", "-q")  # fmt: skip
    taskito = ("taskito", "worker", "--app", "taskito_sqlite:queue")
    ours = counted("SELECT coalesce(sum(jobs), 0) FROM counter WHERE state = 'completed'")
    theirs = counted("SELECT count(*) FROM kv")
    rust = counted(
        "SELECT (SELECT count(*) FROM jobs WHERE status = 2)"
        " + (SELECT count(*) FROM archived_jobs WHERE status = 2)"
    )
    return [
        Contestant("penstock", "local", "penstock_sqlite", penstock, ours, None, 100_000),
        Contestant("penstock", "fsync", "penstock_sqlite", penstock, ours, None, 100_000),
        Contestant("huey", "local", "huey_sqlite", huey, theirs, "huey", 4_000),
        Contestant("huey", "fsync", "huey_sqlite", huey, theirs, "huey", 4_000),
        Contestant("taskito", "local", "taskito_sqlite", taskito, rust, "taskito", 600),
    ]
