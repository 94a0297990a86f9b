"""A site stands on a broker of any kind, and sees what was left behind in it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import apsw
import psycopg

from penstock.connect import sqlite_path
from tests.chaos import tasks
from tests.support.brokers import Kind
from tests.support.site import Site
from tests.support.summary import summarise


def test_a_job_runs_on_each_broker(make_site: Callable[..., Site], broker_kind: Kind) -> None:
    """A worker runs a job and is drained, all invariants hold, and the row names the broker."""
    site = make_site(on=broker_kind)
    worker = site.start_ready()
    (job,) = site.enqueue(tasks.wait.call())
    site.wait_final([job.id], within_s=30)
    events, dump = site.check(leftovers=site.drain(worker))
    row = summarise("x", events, dump, 1.0)
    assert (row.broker, row.jobs, row.lost) == (broker_kind, 1, 0)


def test_an_open_transaction_is_seen(make_site: Callable[..., Site], broker_kind: Kind) -> None:
    """A transaction that somebody left open is told once the deadline for its end has passed."""
    site = make_site(on=broker_kind)
    (job,) = site.enqueue(tasks.wait.call())
    assert site.leftovers() == ()
    with open_transaction(site.url):
        (line,) = site.leftovers()
    assert line.startswith("left behind: a "), line
    assert site.leftovers() == ()
    site.cancel(job.id)


def test_one_that_ends_soon_is_not(make_site: Callable[..., Site], broker_kind: Kind) -> None:
    """The session of a killed process may outlive it for a moment."""
    site = make_site(on=broker_kind)
    with open_transaction(site.url) as end:
        timer = threading.Timer(0.2, end)
        timer.start()
        assert site.leftovers() == ()
        timer.join()


@contextmanager
def open_transaction(url: str) -> Iterator[Callable[[], object]]:
    """Keep a transaction open until the block ends, or what it yields is called."""
    match url.partition(":")[0]:
        case "sqlite":
            with closing(apsw.Connection(str(sqlite_path(url)))) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield lambda: connection.execute("ROLLBACK")
        case "redis":
            where = urlsplit(url)
            with socket.create_connection((where.hostname or "", where.port or 0)) as wire:
                wire.sendall(f"SELECT {where.path[1:]}\r\nMULTI\r\n".encode())
                assert wire.recv(100)
                yield lambda: wire.sendall(b"DISCARD\r\n")
        case _:
            with closing(psycopg.connect(url)) as session:
                session.execute("SELECT count(*) FROM penstock.job")
                yield session.rollback
