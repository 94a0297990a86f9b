"""From the schema of the release before to this one, and what is refused, on every broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import psycopg
import pytest
from redis import Redis

from penstock import App
from penstock.broker.requests import JobFilter
from penstock.broker.schema import FIRST, Schema, read_migrations
from penstock.brokers.postgres import statements as postgres_sql
from penstock.brokers.redis.schema import SCHEMA as REDIS_SCHEMA
from penstock.brokers.redis.stored import json_of, to_short
from penstock.brokers.sqlite import statements as sqlite_sql
from penstock.connect import connect, sqlite_path
from penstock.core.ids import JobId
from penstock.core.job import Reason
from penstock.core.usage import Usage
from penstock.errors import NewerSchema
from tests.support.backdoor import backdoor
from tests.support.brokers import KINDS, Brokers, Kind
from tests.support.command_line import penstock
from tests.support.release import KNOWS, run_new, run_old

#: Version that this release reads and writes.
VERSION: Final = 3
#: What a store says that the release before has made, and what it says from this one on.
BEFORE: Final = Schema(version=KNOWS, needs=1)
NOW: Final = Schema(version=VERSION, needs=KNOWS)
#: Enqueues three jobs, and says how many the broker holds; run on the old code.
OLD_CODE: Final = """
import sys
from penstock import App
from penstock import App
from penstock.broker.requests import JobFilter
app = App(sys.argv[1])
@app.task
def task(n: int) -> int:
    return n
for number in range(3):
    task.using(delay="1h").enqueue(number)
print(len(app.broker.list_jobs(JobFilter(), limit=100, before=None).jobs))
"""

#: Lets the one queued job fail, be buried and be requeued, so that it is queued again.
LIFE: Final = """
import secrets, sys
from penstock.broker import requests as r
from penstock.connect import connect
from penstock.core import settlement as s
from penstock.core.job import SHARED, Charges, Reason
broker = connect(sys.argv[1])
broker.register(["default"])
lease = secrets.token_hex(16)
owner = r.Owner("w@1-abc", "here", "boot", 0, 1, 0)
broker.open_lease(r.OpenLease(id=lease, queues=("default",), owner=owner, ttl_ms=60_000))
def claim():
    offers, jobs = (r.Offer("default", (SHARED,)),), ()
    while not jobs:
        fence = secrets.token_hex(16)
        jobs = broker.claim(r.ClaimRequest(lease=lease, offers=offers, limit=1, fence=fence)).jobs
    assert jobs[0].flaw is None, jobs
    return {"id": jobs[0].id, "fence": jobs[0].fence, "outcome": "failed", "pid": 1}
broker.settle([s.Retry(**claim(), delay_ms=1, charges=Charges(errors=1))])
job = claim()
broker.settle([s.Bury(**job, reason=Reason.NOT_RETRYABLE, charges=Charges(errors=2))])
print(broker.requeue([job["id"]]))
"""


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    """Empty brokers of every kind."""
    with Brokers() as found:
        yield found


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, brokers: Brokers, tmp_path: Path) -> str:
    """A broker of each kind that holds nothing."""
    kind: Kind = request.param
    return brokers.url(kind, tmp_path)


def said(url: str) -> Schema:
    """Return what a store says of itself, behind the back of the adapters."""
    if url.startswith("redis"):
        with closing(Redis.from_url(url)) as client:
            found: Any = client.hgetall("penstock:schema")
            return Schema(int(found[b"version"]), int(found[b"needs"])) if found else FIRST
    rows = dict(ask(url, "SELECT name, value FROM meta"))
    needs = int(rows["schema_version"])
    return Schema(int(rows.get("schema_revision", needs)), needs)


def say(url: str, schema: Schema) -> None:
    """Let a store say something else, as a newer release would."""
    if url.startswith("redis"):
        with closing(Redis.from_url(url)) as client:
            client.hset("penstock:schema", "version", str(schema.version))
            client.hset("penstock:schema", "needs", str(schema.needs))
        return
    for name, value in (("schema_version", schema.needs), ("schema_revision", schema.version)):
        sql = f"UPDATE meta SET value = '{value}' WHERE name = '{name}' RETURNING name"  # noqa: S608
        ask(url, sql)


def forget_revision(url: str) -> None:
    """Let a store say as little as one of version 1."""
    if url.startswith("redis"):
        with closing(Redis.from_url(url)) as client:
            client.delete("penstock:schema")
        return
    ask(url, "DELETE FROM meta WHERE name = 'schema_revision' RETURNING name")


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement on a database."""
    if url.startswith("sqlite"):
        with closing(apsw.Connection(str(sqlite_path(url)))) as file:
            return file.execute(sql).fetchall()
    with closing(psycopg.connect(url, autocommit=True)) as server:
        return server.execute(sql.replace("meta", "penstock.meta").encode()).fetchall()


def old_jobs(url: str) -> int:
    """Let the old release enqueue three jobs; return how many it finds then."""
    done = run_old(OLD_CODE, url)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_store_of_the_release_before_is_migrated_and_still_its_own(url: str) -> None:
    """What the old release made is moved on, jobs and all, and the old one opens it as before."""
    assert old_jobs(url) == 3
    assert said(url) == BEFORE
    with closing(connect(url)) as broker:
        assert broker.describe().schema_version == VERSION
        assert len(broker.list_jobs(JobFilter(), limit=100, before=None).jobs) == 3
    assert said(url) == NOW
    assert old_jobs(url) == 6
    assert said(url) == NOW


def test_a_store_of_two_versions_back_is_migrated_too(url: str) -> None:
    """A backup, or a broker that skipped a release, is moved on by all steps in one go.

    Version 2 made nothing but the note of itself: without the note it is version 1.
    """
    old_jobs(url)
    forget_revision(url)
    assert said(url) == FIRST
    with closing(connect(url)) as broker:
        assert broker.describe().schema_version == VERSION
        assert len(broker.list_jobs(JobFilter(), limit=100, before=None).jobs) == 3
    assert said(url) == NOW


def test_many_migrate_at_once(url: str) -> None:
    """Processes that start together after a deploy find one migration, made once."""
    old_jobs(url)
    failures: list[Exception] = []

    def open_one() -> None:
        try:
            with closing(connect(url)) as broker:
                assert broker.describe().schema_version == VERSION
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert said(url) == NOW


def test_a_migration_waits_for_no_open_transaction(brokers: Brokers, tmp_path: Path) -> None:
    """Neither a dump nor a caller with jobs in a transaction of his own holds a worker up."""
    url = brokers.url("postgres", tmp_path)
    old_jobs(url)
    with closing(psycopg.connect(url)) as caller:
        caller.execute("LOCK penstock.job, penstock.lease IN ROW EXCLUSIVE MODE")
        caller.execute("UPDATE penstock.job SET priority = priority")
        connect(url).close()
        assert said(url) == NOW
        caller.commit()


def test_a_newer_store_that_needs_no_more_is_used(url: str) -> None:
    """One version on, as a rolling upgrade makes it, this release goes on and changes nothing."""
    connect(url).close()
    newer = Schema(version=VERSION + 1, needs=VERSION)
    say(url, newer)
    with closing(connect(url)) as broker:
        assert broker.describe().schema_version == newer.version
    assert said(url) == newer


def test_what_else_a_newer_store_says_of_itself_is_not_read(tmp_path: Path) -> None:
    """Rows of `meta` that this release does not know may hold anything."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    connect(url).close()
    with closing(apsw.Connection(str(sqlite_path(url)))) as connection:
        connection.execute("INSERT INTO meta (name, value) VALUES ('made_by', 'a later one')")
    with closing(connect(url)) as broker:
        assert broker.describe().schema_version == VERSION


def test_a_store_that_needs_more_is_refused(url: str) -> None:
    """The error names all three versions and the way out; nothing is changed."""
    connect(url).close()
    beyond = Schema(version=VERSION + 2, needs=VERSION + 1)
    say(url, beyond)
    why = r"schema version 5, made by a newer Penstock, .* version 4 on; this one knows 3: upgrade"
    with pytest.raises(NewerSchema, match=why):
        connect(url)
    assert said(url) == beyond


def test_commands_tell_the_version_and_the_refusal(tmp_path: Path) -> None:
    """Doctor tells the version of what a broker holds, or the problem; a worker ends with 78."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    connect(url).close()
    doctor = penstock("doctor", "--json", "--url", url, folder=tmp_path)
    lines = [one["text"] for one in doctor.document["findings"] if one["what"] == "broker"]
    assert any(line.endswith(f", schema version {VERSION}") for line in lines), lines
    assert doctor.document["broker"]["schema_version"] == VERSION
    say(url, Schema(version=VERSION + 2, needs=VERSION + 1))
    doctor = penstock("doctor", "--json", "--url", url, folder=tmp_path)
    assert doctor.code == 1
    [problem] = [one for one in doctor.document["findings"] if one["state"] == "problem"]
    assert (problem["what"], "upgrade Penstock" in problem["text"]) == ("broker", True)
    (tmp_path / "app.py").write_text("from penstock import App\napp = App()\n")
    worker = penstock("worker", "app:app", "--url", url, folder=tmp_path)
    assert worker.code == 78, worker
    assert "this one knows 3: upgrade Penstock" in worker.err


def stored_spec(url: str, job: str) -> bytes:
    """Return the record of a job as it is stored, behind the back of the adapters."""
    if url.startswith("redis"):
        with closing(Redis.from_url(url)) as client:
            found: Any = client.hget("penstock:{default}:spec", to_short(job))
            return json_of(found)
    is_file = url.startswith("sqlite")
    [(spec,)] = ask(url, "SELECT spec FROM job" if is_file else "SELECT spec FROM penstock.job")
    return bytes(spec)


def enqueue_one(url: str) -> JobId:
    """Enqueue a job that no worker of a test looks up, and return its id."""
    with closing(App(url)) as app:

        @app.task(name="t")
        async def task(n: int) -> int:
            return n

        return task.enqueue(1).id


def test_what_only_a_newer_release_knows_of_a_job_is_kept(url: str) -> None:
    """An unknown field of a spec lives through claim, retry, bury and requeue, by either code."""
    job = enqueue_one(url)
    newer = stored_spec(url, job)[:-1] + b',"of_tomorrow":{"deep":[1,2.5,null]}}'
    backdoor(url).write_specs({job: newer})
    for done in (run_old(LIFE, url), run_new(LIFE, url), run_old(LIFE, url)):
        assert done.returncode == 0, done.stderr
        assert stored_spec(url, job) == newer


#: Settles the queued job as completed, with what its attempt took; run on the new code.
MEASURED: Final = (
    LIFE.partition("broker.settle(")[0]
    + """
from penstock.core.usage import Usage
broker.settle([s.Complete(**claim(), result=None, usage=Usage(peak_bytes=7))])
"""
)

#: Claims the job that was requeued and settles it, as the release before does.
UNMEASURED: Final = (
    LIFE.partition("broker.settle(")[0]
    + """
broker.settle([s.Complete(**claim(), result=None)])
"""
)


def usages(url: str, job: JobId) -> list[Usage | None]:
    """Return the usage of each attempt of a job."""
    with closing(connect(url)) as broker:
        record = broker.get(job)
        assert record is not None
        return [attempt.usage for attempt in record.attempts]


def test_an_attempt_of_the_release_before_has_no_usage(url: str) -> None:
    """What one release measured is not taken for what the other one ran, on either's turn."""
    job = enqueue_one(url)
    for code in (MEASURED, UNMEASURED, MEASURED):
        done = (run_old if code is UNMEASURED else run_new)(code, url)
        assert done.returncode == 0, done.stderr
        with closing(connect(url)) as broker:
            broker.requeue([job])
    assert usages(url, job) == [Usage(peak_bytes=7), None, Usage(peak_bytes=7)]


#: Forgets every final job, and says how many.
PRUNE: Final = """
import sys
from penstock.broker.requests import Retention
from penstock.connect import connect
from penstock.core.lifecycle import State
rules = [Retention(state=State.COMPLETED, age_ms=0, count_max=0)]
print(connect(sys.argv[1]).prune(["default"], rules, limit=10))
"""


def test_what_the_release_before_leaves_of_a_job_is_dropped(url: str) -> None:
    """It forgets a job and not its usage, which goes as soon as no older job is left."""
    job = enqueue_one(url)
    assert run_new(MEASURED, url).returncode == 0
    assert run_old(PRUNE, url).stdout.strip() == "1"
    assert left_of(url, job) == (0 if url.startswith("redis") else 1)
    enqueue_one(url)
    assert run_new(PRUNE, url).stdout.strip() == "0"
    assert left_of(url, job) == 0


def left_of(url: str, job: str) -> int:
    """Return how many usages of a job there are, behind the back of the adapters."""
    if url.startswith("redis"):
        with closing(Redis.from_url(url)) as client:
            return sum(to_short(job) in key for key in client.scan_iter("penstock:*"))
    schema = "" if url.startswith("sqlite") else "penstock."
    [(count,)] = ask(url, f"SELECT count(*) FROM {schema}usage WHERE job = '{job}'")  # noqa: S608
    return int(count)


def test_no_migration_locks_the_release_before_out() -> None:
    """Each step needs no more than what the version before it knows, on every broker."""
    for steps in (sqlite_sql.read_migrations(), postgres_sql.read_migrations()):
        assert steps[-1].version == VERSION
        assert all(step.needs < step.version for step in steps[1:])
        assert steps[-1].needs <= KNOWS
    assert REDIS_SCHEMA == NOW


@pytest.mark.parametrize(
    "texts",
    [
        {"0002_b.sql": "-- needs: 1"},
        {"0001_a.sql": "-- it needs something"},
        {"0001_a.sql": "-- needs: 1", "0002_b.sql": "-- needs: 2", "0003_c.sql": "-- needs: 1"},
        {"0001_a.sql": "-- needs: 2"},
    ],
)
def test_a_migration_out_of_line_is_found(texts: dict[str, str]) -> None:
    """A gap in the numbers, a need that is not said, or one further back than the last release."""
    with pytest.raises(ValueError, match=r"numbered|needs"):
        read_migrations(texts.items())


def test_a_reason_of_a_newer_release_can_be_read() -> None:
    """It is shown as it was written, and is none of those known here."""
    reason = Reason("too_hot")
    assert (str(reason), reason in list(Reason)) == ("too_hot", False)
    assert Reason("poison") is Reason.POISON
