"""Opening a PostgreSQL broker: URLs, schemas, durability, and the caller's transaction."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from penstock.broker import requests as r
from penstock.brokers.postgres import PostgresBroker
from penstock.connect import connect
from penstock.core import settlement as s
from penstock.errors import BadSetting, Unavailable
from tests.support.command_line import penstock
from tests.support.eventually import eventually
from tests.support.postgres_schema import (
    ask,
    claim,
    counted,
    fresh_schema,
    new_job,
    open_lease,
    put,
)
from tests.support.postgres_server import PostgresServer, shared_server


@pytest.fixture
def url() -> Iterator[str]:
    """Tables of this test's own."""
    with fresh_schema() as found:
        yield found


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_schemes_open_it(url: str, scheme: str) -> None:
    """A URL of either scheme names the same jobs."""
    with closing(connect(url)) as first, closing(connect(f"{scheme}:{url.partition(':')[2]}")) as b:
        put(first)
        assert counted(b).queued == 1


def test_without_the_driver_the_way_to_it_is_named() -> None:
    """A postgres URL without psycopg is refused with the line that installs it, and no password."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from penstock.connect import connect\n"
        "from penstock.errors import BadSetting\n"
        "try:\n    connect('postgresql://penstock:hush@127.0.0.1/postgres')\n"
        "except BadSetting as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True
    )
    assert "pip install 'penstock[postgres]'" in done.stdout
    assert "hush" not in done.stdout


def test_no_secret_is_shown() -> None:
    """A password is in no error and in nothing that a broker says of itself."""
    port = shared_server().port
    with fresh_schema() as plain:
        url = plain.replace("penstock@", "penstock:hush-%21@") + "&options=-c%20work_mem%3D64kB"
        with closing(PostgresBroker.open(url)) as broker:
            assert "hush" not in repr(broker.describe())
            assert broker.describe().location.startswith(f"postgresql://penstock@127.0.0.1:{port}/")
    for bad in (
        f"postgresql://nobody:hush-!@127.0.0.1:{port}/postgres",
        f"postgresql://penstock:hush-!@127.0.0.1:{port}/nowhere",
        "postgresql://penstock:hush-%zz@127.0.0.1/postgres",
        "postgresql://penstock:hush-!@127.0.0.1/postgres?no_such_parameter=1",
    ):
        with pytest.raises(BadSetting) as caught:
            PostgresBroker.open(bad)
        assert "hush" not in str(caught.value)
        assert "hush" not in str(caught.value.__cause__)
    with pytest.raises(Unavailable) as unreachable:
        PostgresBroker.open("postgresql://penstock:hush@127.0.0.1:1/postgres?sslpassword=hush")
    assert "hush" not in str(unreachable.value)


def test_a_wrong_password_or_database_is_a_wrong_setting(tmp_path: Path) -> None:
    """Each command ends with 78 and says what the server said, without the password."""
    (tmp_path / "shop.py").write_text("from penstock import App\napp = App()\n")
    with closing(PostgresServer({"fsync": "off"})) as server:
        with closing(psycopg.connect(server.url, autocommit=True)) as client:
            client.execute("CREATE ROLE shop LOGIN SUPERUSER PASSWORD 'right-hush'")
            (file,) = client.execute("SHOW hba_file").fetchone() or ("",)
            rules = Path(file).read_text()
            Path(file).write_text(f"host all shop 127.0.0.1/32 scram-sha-256\n{rules}")
            client.execute("SELECT pg_reload_conf()")
        url = server.url.replace("penstock@", "shop:{}@")

        def says(url: str, *words: str) -> str:
            told = penstock(*words, folder=tmp_path, env={"PENSTOCK_URL": url})
            assert (told.code, "hush" in told.err) == (78, False), told
            return told.err

        # The server takes the new rules in its own time.
        eventually(lambda: is_refused(url.format("wrong-hush")), within_s=30, what="the new rules")
        for words in (["queues"], ["worker", "shop"]):
            assert "password authentication failed" in says(url.format("wrong-hush"), *words)
            nowhere = url.format("right-hush").replace("/postgres", "/nowhere")
            assert 'database "nowhere" does not exist' in says(nowhere, *words)
        assert "no password supplied" in says(url.replace(":{}", ""), "queues")
        PostgresBroker.open(url.format("right-hush")).close()


def is_refused(url: str) -> bool:
    """Return whether a server refuses the user of a URL."""
    try:
        PostgresBroker.open(url).close()
    except BadSetting:
        return True
    return False


def test_a_schema_of_a_newer_penstock_is_refused(url: str) -> None:
    """What a newer version wrote is not touched."""
    PostgresBroker.open(url).close()
    ask(url, "UPDATE meta SET value = '99' WHERE name = 'schema_version' RETURNING value")
    with pytest.raises(BadSetting, match="newer Penstock"):
        PostgresBroker.open(url)


@pytest.mark.parametrize("name", ["Upper", "a-b", 'a"b', "", "x" * 60])
def test_a_schema_has_a_plain_name(name: str) -> None:
    """A name that would have to be quoted is refused before anything is asked of the server."""
    with pytest.raises(BadSetting, match="schema"):
        PostgresBroker.open(f"postgresql://127.0.0.1:1/postgres?schema={name}")


def test_many_may_make_the_tables_at_once(url: str) -> None:
    """Processes that start together find one schema, made once."""
    failures: list[Exception] = []

    def open_one() -> None:
        try:
            PostgresBroker.open(url).close()
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ask(url, "SELECT value FROM meta WHERE name = 'schema_version'") == [("2",)]


def test_a_class_that_the_server_cannot_give_is_refused(url: str) -> None:
    """Without fsync there is no `fsync`, without a standby no `replicated`; both are told."""
    for asked, why in ((r.Durability.FSYNC, "fsync is off"), (r.Durability.REPLICATED, "standby")):
        with pytest.raises(BadSetting, match=why):
            PostgresBroker.open(url, durability=asked)
    with closing(PostgresBroker.open(url)) as broker:
        facts = broker.describe()
        assert facts.durability is r.Durability.LOCAL
        assert any("fsync" in warning for warning in facts.warnings)
        with pytest.raises(BadSetting):
            broker.enqueue([new_job(broker)], durability=r.Durability.FSYNC)


def test_a_server_as_it_comes_gives_fsync() -> None:
    """A server with its own settings promises what power loss leaves, and has no warning."""
    with closing(PostgresServer()) as server, closing(PostgresBroker.open(server.url)) as broker:
        facts = broker.describe()
        assert (facts.durability, facts.warnings) == (r.Durability.FSYNC, ())
        (answer,) = broker.enqueue([new_job(broker)])
        assert isinstance(answer, r.Accepted)
        assert answer.durability is r.Durability.FSYNC


def test_a_read_only_server_refuses_definitely(url: str) -> None:
    """On a standby nothing is written, and the caller knows it."""
    PostgresBroker.open(url).close()
    read_only = f"{url}&options=-c%20default_transaction_read_only%3Don"
    with (
        closing(PostgresBroker.open(read_only)) as broker,
        pytest.raises(Unavailable, match="read-only"),
    ):
        put(broker)


def test_a_job_exists_if_the_callers_transaction_commits(url: str) -> None:
    """With the caller's own connection a job and his rows are there together, or not at all."""
    with closing(PostgresBroker.open(url)) as broker, closing(broker.listen()) as listener:
        put(broker)
        with closing(psycopg.connect(shared_server().url)) as connection:
            answers = broker.enqueue_in(connection, [new_job(broker), new_job(broker, key="k")])
            assert [type(answer) for answer in answers] == [r.Accepted, r.Accepted]
            assert counted(broker).queued == 1
            connection.rollback()
            assert counted(broker).queued == 1
            broker.enqueue_in(connection, [new_job(broker), new_job(broker, key="k")])
            connection.commit()
        assert counted(broker).queued == 3
        assert not listener.drain()


def test_one_key_makes_one_job_whoever_comes_first(url: str) -> None:
    """Threads that bring the same key at once all get the same job."""
    with closing(PostgresBroker.open(url)) as broker:
        requests = [new_job(broker, key="k") for _ in range(8)]
        answers: list[r.Accepted | r.Refused] = []
        barrier = threading.Barrier(len(requests))

        def enqueue(request: r.EnqueueRequest) -> None:
            barrier.wait()
            answers.extend(broker.enqueue([request]))

        threads = [threading.Thread(target=enqueue, args=(one,)) for one in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        accepted = [answer for answer in answers if isinstance(answer, r.Accepted)]
        assert len(accepted) == len(requests)
        assert len({answer.id for answer in accepted}) == 1
        assert counted(broker).queued == 1


#: Columns of the view `job_queue` (S10), with their types.
COLUMNS = {
    "id": "uuid",
    "queue_name": "text",
    "payload": "jsonb",
    "status": "text",
    "priority": "smallint",
    "created_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
    "started_at": "timestamp with time zone",
    "completed_at": "timestamp with time zone",
    "lease": "uuid",
    "fence": "uuid",
    "worker": "text",
    "attempt": "integer",
}


def seen_in_sql(url: str) -> tuple[Any, ...]:
    """Return what the view says of the only job: facts, and whether its instants are in order."""
    [row] = ask(
        url,
        """
        SELECT queue_name, status, priority, attempt, worker, lease IS NOT NULL, fence IS NOT NULL,
          started_at >= created_at, completed_at >= started_at,
          updated_at = COALESCE(completed_at, started_at, created_at),
          abs(extract(epoch FROM now() - created_at)) < 3600
        FROM job_queue
        """,
    )
    return row


def test_people_read_jobs_in_sql(url: str) -> None:
    """The view `job_queue` has each fact of a job as a column, from arrival to end (S10)."""
    with closing(PostgresBroker.open(url)) as broker:
        types = "SELECT column_name, data_type FROM information_schema.columns"
        ours = "table_schema = current_schema() AND table_name = 'job_queue'"
        columns = ask(url, f"{types} WHERE {ours}")
        assert COLUMNS.items() <= dict(columns).items()
        broker.enqueue([new_job(broker, payload=msgspec.Raw(b'{"order":7}'))])
        waiting = ("q", "queued", 5, 0, None, False, False, None, None, True, True)
        assert seen_in_sql(url) == waiting
        (job,) = claim(broker, open_lease(broker))
        running = ("q", "running", 5, 1, "worker", True, True, True, None, True, True)
        assert seen_in_sql(url) == running
        done = s.Complete(id=job.id, fence=job.fence, outcome="succeeded", result=b'["made"]')
        broker.settle([done])
        ended = ("q", "completed", 5, 1, "worker", False, False, True, True, True, True)
        assert seen_in_sql(url) == ended
        facts = "SELECT payload ->> 'order', result ->> 0, outcome FROM job_queue"
        assert ask(url, facts) == [("7", "made", "succeeded")]


def test_a_record_that_is_no_json_spoils_no_list(url: str) -> None:
    """What cannot be read shows as NULL in the view, and the jobs beside it are seen."""
    with closing(PostgresBroker.open(url)) as broker:
        first, second = put(broker, 2)
        ask(url, f"UPDATE job SET spec = '\\xff' WHERE id = '{first}' RETURNING id")  # noqa: S608
        rows = ask(url, "SELECT id, payload IS NULL FROM job_queue")
        assert {job_id.hex: is_null for job_id, is_null in rows} == {first: True, second: False}
