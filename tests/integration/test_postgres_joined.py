"""Jobs inside the caller's own transaction: `using(connection=...)` and `enqueue_many`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from penstock import App, Durability, Job, State
from penstock.broker.requests import Accepted, EnqueueRequest, Refused
from penstock.brokers.postgres import PostgresBroker
from penstock.errors import BadSetting, DuplicateKey, EnqueueRefused, JobNotFound, WrongContext
from tests.support.postgres_schema import QUEUE, claim, fresh_schema, open_lease, schema_of
from tests.support.postgres_server import PostgresServer, shared_server
from tests.support.redis_server import redis_server

#: Seconds for a wake-up, on a machine that is busy with other tests.
DEADLINE_S = 30.0


async def double(n: int, *, connection: str = "") -> int:
    """Return twice the number; a task may have a parameter of the option's name."""
    return 2 * n


class Shop:
    """An app with a task, and a table of its owner's in the same database."""

    def __init__(self, url: str) -> None:
        self.app = App(url)
        self.double = self.app.task(name="double", queue=QUEUE)(double)
        self.database = shared_server().url
        self.schema = schema_of(url)

    @property
    def broker(self) -> PostgresBroker:
        """The app's broker."""
        assert isinstance(self.app.broker, PostgresBroker)
        return self.app.broker

    def connect(self, **options: Any) -> closing[psycopg.Connection[Any]]:
        """Open a connection of the owner's own."""
        return closing(psycopg.connect(self.database, **options))

    def claimable(self) -> list[str]:
        """Return the jobs that a worker gets now."""
        return [job.id for job in claim(self.broker, open_lease(self.broker))]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An app on tables of this test's own."""
    with fresh_schema() as url:
        found = Shop(url)
        found.broker.register([QUEUE])
        try:
            yield found
        finally:
            found.app.close()


def test_a_commit_makes_the_job(shop: Shop) -> None:
    """Before the commit nobody sees or gets the job; afterwards a worker does."""
    with shop.connect() as connection:
        job = shop.double.using(connection=connection).enqueue(1, connection="mine")
        assert job.durability is None
        with pytest.raises(JobNotFound):
            job.status()
        assert shop.claimable() == []
        connection.commit()
    assert job.status() is State.QUEUED
    assert shop.claimable() == [job.id]


def test_a_rollback_leaves_nothing(shop: Shop) -> None:
    """The job, its key and what was counted are gone with the caller's own rows."""
    with shop.connect() as connection:
        gone = shop.double.using(connection=connection, key="k").enqueue(1)
        connection.rollback()
        with pytest.raises(JobNotFound):
            gone.status()
        assert sum(counts.queued for counts in shop.broker.counts()) == 0
        again = shop.double.using(connection=connection, key="k").enqueue(1)
        connection.commit()
    assert (again.duplicate, again.status()) == (False, State.QUEUED)


def test_a_block_of_the_connection_is_a_transaction(shop: Shop) -> None:
    """In `connection.transaction()` jobs follow the block, whatever autocommit says."""
    with shop.connect(autocommit=True) as connection, connection.transaction():
        kept = shop.double.using(connection=connection).enqueue(1)
        with connection.transaction(force_rollback=True):
            gone = shop.double.using(connection=connection).enqueue(2)
    assert kept.status() is State.QUEUED
    with pytest.raises(JobNotFound):
        gone.status()


def test_the_commit_wakes_a_sleeper(shop: Shop) -> None:
    """A sleeping worker hears of the job when it is there, and not before."""
    with closing(shop.broker.listen()) as listener, shop.connect() as connection:
        lease = open_lease(shop.broker)
        assert claim(shop.broker, lease, wake_token=listener.token) == ()
        job = shop.double.using(connection=connection).enqueue(1)
        other = shop.app.job(job.id)
        with pytest.raises(JobNotFound):
            other.status()
        assert not listener.drain()
        connection.commit()
        assert listener.wait(DEADLINE_S)
        assert [found.id for found in claim(shop.broker, lease)] == [job.id]


def test_many_join_together(shop: Shop) -> None:
    """Over a thousand calls, with parents among them, are there at once or not at all."""
    parent = shop.double.enqueue(0)
    calls = [shop.double.call(n) for n in range(1_100)]
    calls.append(shop.double.using(after=parent).call(1))
    with shop.connect() as connection:
        assert len(shop.app.enqueue_many(calls, connection=connection)) == len(calls)
        connection.rollback()
        jobs = shop.app.enqueue_many(calls, connection=connection)
        connection.commit()
    [counts] = shop.broker.counts()
    assert (counts.queued, counts.blocked) == (1_101, 1)
    assert jobs[-1].status() is State.BLOCKED


def test_a_refusal_is_the_callers_to_judge(shop: Shop) -> None:
    """A refused call leaves the transaction as it was: the caller commits or rolls back."""
    shop.double.using(key="k").enqueue(1)
    with shop.connect() as connection:
        with pytest.raises(DuplicateKey):
            shop.double.using(connection=connection, key="k").enqueue(2)
        calls = [shop.double.call(3), shop.double.using(key="k").call(4)]
        with pytest.raises(EnqueueRefused) as caught:
            shop.app.enqueue_many(calls, connection=connection)
        connection.commit()
    [accepted] = caught.value.accepted
    assert isinstance(accepted, Job)
    assert accepted.status() is State.QUEUED


def test_coroutines_join_an_async_connection(shop: Shop) -> None:
    """`aenqueue` and `aenqueue_many` follow an AsyncConnection's commit and rollback."""

    async def body() -> None:
        async with await psycopg.AsyncConnection.connect(shop.database) as connection:
            gone = await shop.double.using(connection=connection, key="k").aenqueue(1)
            await connection.rollback()
            job = await shop.double.using(connection=connection, key="k").aenqueue(1)
            more = await shop.app.aenqueue_many([shop.double.call(2)], connection=connection)
            with pytest.raises(JobNotFound):
                await job.astatus()
            await connection.commit()
        assert [await one.astatus() for one in (job, *more)] == [State.QUEUED] * 2
        with pytest.raises(JobNotFound):
            await gone.astatus()

    asyncio.run(body())


def test_a_cancelled_coroutine_leaves_its_connection_alone(shop: Shop) -> None:
    """Once `aenqueue` has raised, no statement of it comes: the caller's rollback is the last."""

    async def body() -> None:
        async with await psycopg.AsyncConnection.connect(shop.database) as connection:
            joined = shop.double.using(connection=connection, key="k")
            for pause_s in (0.0, 0.001, 0.003, 0.01):
                call = asyncio.create_task(joined.aenqueue(1))
                await asyncio.sleep(pause_s)
                call.cancel()
                await asyncio.wait([call])
                await connection.rollback()
                assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            await joined.aenqueue(2)
            await connection.commit()

    asyncio.run(body())
    assert len(shop.claimable()) == 1


def refused(shop: Shop, connection: Any, message: str, error: type[Exception]) -> None:
    """Check that each way in is refused in the same words, and that nothing was written."""
    ways: list[Callable[[], object]] = [
        lambda: shop.double.using(connection=connection).enqueue(1),
        lambda: shop.app.enqueue_many([shop.double.call(1)], connection=connection),
    ]
    for way in ways:
        with pytest.raises(error, match=message):
            way()
    assert sum(counts.queued for counts in shop.app.broker.counts()) == 0


def test_a_connection_must_have_an_open_transaction(shop: Shop) -> None:
    """Closed, failed, and committing by itself: each is refused before anything is sent."""
    with shop.connect() as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1 / 0")
        refused(shop, connection, "can only be rolled back", WrongContext)
        connection.rollback()
        shop.double.using(connection=connection).enqueue(1)
        connection.rollback()
    refused(shop, connection, "connection is closed", WrongContext)
    with shop.connect(autocommit=True) as connection:
        refused(shop, connection, "commits each statement by itself", WrongContext)


def test_a_connection_must_be_of_the_right_kind(shop: Shop) -> None:
    """Another library's connection, and the wrong one of the two kinds, are named."""
    refused(shop, object(), r"connection is a builtins\.object: give a psycopg\.Conn", BadSetting)

    async def body() -> None:
        async with await psycopg.AsyncConnection.connect(shop.database) as connection:
            refused(shop, connection, "call aenqueue", BadSetting)
        with shop.connect() as plain:
            ways: list[Awaitable[object]] = [
                shop.double.using(connection=plain).aenqueue(1),
                shop.app.aenqueue_many([shop.double.call(1)], connection=plain),
            ]
            for way in ways:
                with pytest.raises(BadSetting, match="block the event loop"):
                    await way

    asyncio.run(body())


def test_a_connection_must_be_on_the_database_of_the_jobs(shop: Shop) -> None:
    """Another database, and a server with tables of the same names, are refused each time."""
    with psycopg.connect(shop.database.replace("/postgres", "/template1")) as connection:
        refused(shop, connection, "/template1, and the jobs are in postgresql://", BadSetting)
        refused(shop, connection, "/template1, and the jobs are in postgresql://", BadSetting)
    with closing(PostgresServer({"fsync": "off"})) as server:
        PostgresBroker.open(f"{server.url}?schema={shop.schema}").close()
        with psycopg.connect(server.url) as elsewhere:
            refused(shop, elsewhere, "one transaction has one database", BadSetting)


def test_durability_is_for_the_commit_to_say(shop: Shop) -> None:
    """A class of durability beside a connection is refused wherever it stands."""
    with shop.connect() as connection:
        asked = shop.double.using(durability="local")
        ways: list[Callable[[], object]] = [
            lambda: asked.using(connection=connection).enqueue(1),
            lambda: shop.app.enqueue_many([asked.call(1)], connection=connection),
            lambda: shop.app.enqueue_many([], connection=connection, durability=Durability.LOCAL),
        ]
        for way in ways:
            with pytest.raises(BadSetting, match="durability local and connection"):
                way()


def test_a_call_is_a_value_and_has_no_connection(shop: Shop) -> None:
    """`call` of a task with a connection names where the connection belongs; None takes it away."""
    with shop.connect() as connection:
        joined = shop.double.using(connection=connection)
        with pytest.raises(WrongContext, match=r"enqueue_many\(\.\.\., connection=\.\.\.\)"):
            joined.call(1)
        assert joined.using(connection=None).enqueue(1).status() is State.QUEUED
        assert joined.using(priority=9).enqueue(1).durability is None


class Pipe:
    """What a child has: it passes jobs on to its worker."""

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Give no tags; nobody gets this far."""
        raise NotImplementedError

    def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Store nothing; nobody gets this far."""
        raise NotImplementedError


def test_a_child_joins_nothing(shop: Shop) -> None:
    """In a child, whose jobs go through its worker, a connection is refused with the way out."""
    with shop.connect() as connection:
        shop.app.install_enqueuer(Pipe())
        with pytest.raises(WrongContext, match="child process"):
            shop.double.using(connection=connection).enqueue(1)
        shop.app.install_enqueuer(None)


@pytest.mark.parametrize("kind", ["sqlite", "redis", "memory"])
def test_other_brokers_name_the_way_out(kind: str, tmp_path: Path) -> None:
    """A broker that cannot join says which it is, and nothing is written."""
    with redis_server(tmp_path) as redis, psycopg.connect(shared_server().url) as connection:
        urls = {"sqlite": f"sqlite:///{tmp_path}/a.db", "redis": redis.url, "memory": "memory://"}
        app = App(urls[kind])
        task = app.task(name="double")(double)
        try:
            for way in (
                lambda: task.using(connection=connection).enqueue(1),
                lambda: app.enqueue_many([task.call(1)], connection=connection),
                lambda: asyncio.run(task.using(connection=connection).aenqueue(1)),
            ):
                with pytest.raises(BadSetting, match=rf"\({kind}\), which cannot join .* postgres"):
                    way()
            assert sum(counts.queued for counts in app.broker.counts()) == 0
        finally:
            app.close()
