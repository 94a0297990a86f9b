"""Operations that go to PostgreSQL in one flight: what is committed, and how durably."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import psycopg
import pytest

from penstock.broker import requests as r
from penstock.brokers.postgres import PostgresBroker
from penstock.brokers.postgres.address import read_address
from penstock.brokers.postgres.database import Database, Flight
from penstock.brokers.postgres.transaction import Transaction
from penstock.core import settlement as s
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support.postgres_schema import (
    claim,
    counted,
    fresh_schema,
    new_job,
    open_lease,
    put,
    schema_of,
)
from tests.support.postgres_server import PostgresServer

#: Seconds that a producer waits for a silent server.
PRODUCER_WAIT_S = 1.0
#: Seconds after which a test gives up waiting for a lock.
HELD_S = 10.0


@pytest.fixture
def url() -> Iterator[str]:
    """Tables of this test's own."""
    with fresh_schema() as found:
        yield found


def change(url: str, sql: str) -> None:
    """Change the tables that `url` names, by their bare names."""
    with closing(psycopg.connect(url.partition("?")[0], autocommit=True)) as connection:
        connection.execute(f'SET search_path = "{schema_of(url)}"'.encode())
        connection.execute(sql.encode())


def test_only_what_asks_for_the_disk_waits_for_it() -> None:
    """A commit in class `local` returns while one in class `fsync` waits for what never answers.

    What never answers is a standby that is not there: synchronous_commit waits for both alike.
    """
    with closing(PostgresServer()) as server:
        local = r.Durability.LOCAL
        with closing(PostgresBroker.open(server.url, durability=local)) as broker:
            lease = open_lease(broker)
            put(broker)
            with closing(psycopg.connect(server.url, autocommit=True)) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                connection.execute("SELECT pg_reload_conf()")
                connection.execute("SET synchronous_commit = off")
            with pytest.raises(OutcomeUnknown), closing(PostgresBroker.open(server.url)) as other:
                other.enqueue([new_job(other)], durability=r.Durability.FSYNC)
            started = time.monotonic()
            put(broker)
            jobs = claim(broker, lease)
            done = [s.Complete(id=j.id, fence=j.fence, outcome="ended", result=b"1") for j in jobs]
            assert set(broker.settle(done)) == {s.Applied.APPLIED}
            assert time.monotonic() - started < PRODUCER_WAIT_S


def test_what_is_not_sent_whole_is_not_committed(url: str) -> None:
    """An operation that fails here between its statements leaves nothing behind."""
    PostgresBroker.open(url).close()
    database = Database(read_address(url), 5.0)

    def work(tx: Transaction) -> Callable[[], None]:
        tx.send("INSERT INTO penstock.queue (tag, name) VALUES (1, 'half')")
        raise LookupError("here")

    with closing(database):
        for is_whole in (True, False):
            with pytest.raises(LookupError):
                database.send(work, Flight(r.Durability.LOCAL, is_whole=is_whole))
        assert database.read(lambda tx: tx.rows("SELECT name FROM penstock.queue")) == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_nothing_is_sent_before_its_sync(url: str, *, is_whole: bool) -> None:
    """A process that is stopped between two statements holds no locks: the server knows of none."""
    PostgresBroker.open(url).close()
    database = Database(read_address(url), 5.0)
    with closing(psycopg.connect(url.partition("?")[0], autocommit=True)) as beside:
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid <> ALL (%s)"
        others = [row[0] for row in beside.execute("SELECT pid FROM pg_stat_activity")]

        def work(tx: Transaction) -> Callable[[], int]:
            tx.send("UPDATE penstock.reaper SET tick_lease_ms = 1")
            tx.send("SELECT 1")
            time.sleep(0.1)  # What was sent would have arrived.
            row = beside.execute(locks.encode(), (others,)).fetchone()
            assert row is not None
            return lambda: int(row[0])

        with closing(database):
            assert database.send(work, Flight(r.Durability.LOCAL, is_whole=is_whole)) == 0
            [(tick,)] = database.read(
                lambda tx: tx.rows("SELECT tick_lease_ms FROM penstock.reaper")
            )
            assert tick == 1


def test_a_refused_flight_is_definite(url: str) -> None:
    """An error that the server answers with has undone the whole flight, and the caller knows."""
    with closing(PostgresBroker.open(url)) as broker:
        put(broker)
        change(url, "ALTER TABLE count_change ADD CHECK (jobs < 2)")
        request = new_job(broker)
        with pytest.raises(psycopg.errors.CheckViolation):
            broker.enqueue([request, new_job(broker)])
        assert broker.peek([request.id]) == [None]


def test_what_fails_after_the_commit_fails_silently(url: str) -> None:
    """A job is accepted although nobody could be woken for it."""
    with closing(PostgresBroker.open(url)) as broker:
        put(broker)
        change(url, "ALTER TABLE waiter RENAME TO gone")
        put(broker)
        assert counted(broker).queued == 2


def test_a_lock_in_the_way_is_waited_for_and_told(url: str) -> None:
    """An enqueue behind a lock that outlasts it is refused definitely: nothing was written."""
    with closing(PostgresBroker.open(url)) as broker:
        request = new_job(broker)
        with closing(psycopg.connect(url.partition("?")[0])) as connection:
            connection.execute(f'LOCK TABLE "{schema_of(url)}".job'.encode())
            with pytest.raises(Unavailable, match="keeps a lock"):
                broker.enqueue([request])
        assert broker.peek([request.id]) == [None]
        (answer,) = broker.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert not answer.duplicate


def test_who_stands_still_in_a_transaction_loses_its_locks(url: str) -> None:
    """A worker that is stopped between two statements keeps the reapers waiting for 2 s at most."""
    PostgresBroker.open(url).close()
    is_held, is_over = threading.Event(), threading.Event()

    def lock(tx: Transaction) -> int:
        return len(tx.rows("SELECT FROM penstock.reaper FOR UPDATE"))

    def stand_still(tx: Transaction) -> int:
        locked = lock(tx)
        is_held.set()
        assert is_over.wait(HELD_S)
        return locked

    def stop() -> None:
        with suppress(OutcomeUnknown, Unavailable):
            database.write(stand_still)

    with closing(Database(read_address(url), HELD_S)) as database:
        stopped = threading.Thread(target=stop)
        stopped.start()
        try:
            assert is_held.wait(HELD_S)
            assert database.write(lock) == 1
        finally:
            is_over.set()
            stopped.join()
