"""The public API as its users write it; never run, only read by type checkers.

`test_typing.py` runs mypy and basedpyright over it: every line must pass.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import psycopg

from penstock import (
    After,
    App,
    AsyncTask,
    Call,
    CancelAnswer,
    Discard,
    Durability,
    Exponential,
    Job,
    Retry,
    Secret,
    Snooze,
    SoftTimeLimit,
    State,
    SyncTask,
    Task,
    current_job,
    library_task,
)

app = App("sqlite:///jobs.db", include=["shop.tasks"], settings={"poll": "1s"})


@app.task
def plain(path: str, k: int = 8) -> dict[str, int]:
    """A plain function, decorated without parentheses."""
    return {path: k}


@app.task
async def notify(user_id: int, text: str) -> None:
    """A coroutine function, decorated without parentheses."""


@app.task(
    name="shop.report",
    aliases=["shop.old_report"],
    queue="heavy",
    priority=7,
    retries=5,
    backoff=Exponential(base="1s", cap=timedelta(minutes=5), jitter="none"),
    timeout="1h",
    soft_timeout=3_000,
    isolation="process",
    memory="auto",
    cpus=2,
    requires={"eu", "licensed"},
    resources={"license": 1},
    gpu=1,
    gpu_memory="16GiB",
    light=False,
    retry_on=[OSError, TimeoutError],
    discard_on=KeyError,
    on_dead=notify,
    result_ttl="7d",
    expires=timedelta(hours=1),
    key_window="2h",
)
def report(*numbers: int, title: str) -> list[str]:
    """A plain function with options."""
    return [title, *map(str, numbers)]


@app.task(memory="2GiB")
async def fetch(url: str) -> bytes:
    """A coroutine function with options."""
    return url.encode()


@library_task
def shared(n: int) -> float:
    """A task of a library."""
    return n / 2


@library_task(retries=0)
async def shared_async(n: int) -> float:
    """An async task of a library."""
    return n / 2


def tasks() -> None:
    """Decorators keep parameters and results."""
    assert_type(plain("a"), dict[str, int])
    assert_type(plain("a", k=3), dict[str, int])
    assert_type(report(1, 2, title="x"), list[str])
    assert_type(shared(3), float)
    kept: SyncTask[..., dict[str, int]] = plain
    kept_async: AsyncTask[[str], bytes] = fetch
    any_kind: list[Task[..., Any]] = [plain, notify, report, fetch, shared]
    one: Task[[int], float] = shared
    assert_type(one.enqueue(1), Job[float])


def enqueue() -> None:
    """Handles carry the type of the result; async tasks that of the awaited value."""
    job = plain.enqueue("graph.csv", k=12)
    assert_type(job, Job[dict[str, int]])
    assert_type(job.result(timeout="1min"), dict[str, int])
    assert_type(notify.enqueue(1, text="hi"), Job[None])
    assert_type(fetch.enqueue("x").result(), bytes)
    assert_type(job.status(), State)
    assert_type(job.cancel(), CancelAnswer)
    assert_type(job.durability, Durability | None)
    assert_type(job.id[:8], str)
    assert_type(app.job(job.id), Job[Any])


def enqueue_in_a_transaction(connection: psycopg.Connection[Any]) -> None:
    """A connection of psycopg takes nothing from the types."""
    with connection.transaction():
        assert_type(plain.using(connection=connection).enqueue("a"), Job[dict[str, int]])
        assert_type(plain.using(connection=None).enqueue("a", k=1), Job[dict[str, int]])
        assert_type(app.enqueue_many([fetch.call("x")], connection=connection), list[Job[bytes]])


async def enqueue_in_a_transaction_async(connection: psycopg.AsyncConnection[Any]) -> None:
    """The async twins take a connection of psycopg's async twin."""
    async with connection.transaction():
        job = await plain.using(connection=connection).aenqueue("a")
        assert_type(job, Job[dict[str, int]])
        jobs = await app.aenqueue_many([fetch.call("x")], connection=connection)
        assert_type(jobs, list[Job[bytes]])


async def enqueue_async() -> None:
    """The async twins give the same types."""
    assert_type(await notify(1, "hi"), None)
    assert_type(await fetch("x"), bytes)
    job = await plain.aenqueue("graph.csv")
    assert_type(job, Job[dict[str, int]])
    assert_type(await job.aresult(timeout=1.5), dict[str, int])
    assert_type(await job.astatus(), State)
    assert_type(await job.acancel(), CancelAnswer)
    assert_type(await fetch.aenqueue("x"), Job[bytes])


def options() -> None:
    """`using` keeps the task's type and takes every option."""
    other = plain.enqueue("a")
    urgent = plain.using(
        queue="heavy",
        priority=9,
        delay="30s",
        expires=60,
        timeout=timedelta(minutes=1),
        soft_timeout=None,
        retries=1,
        key="graph-42",
        after=[other, After(other, on_failure="ignore"), other.id],
        tenant="acme",
        memory="2GiB",
        size=12.5,
        cpus=0.5,
        requires=["eu"],
        resources=None,
        gpu_memory=8 * 2**30,
        tags=["nightly"],
        triggered_by="cron",
        result_ttl="1h",
        durability="local",
    )
    assert_type(urgent.enqueue("b", k=1), Job[dict[str, int]])
    assert_type(urgent.using(run_at=datetime.now(UTC)).enqueue("b"), Job[dict[str, int]])
    assert_type(urgent("a"), dict[str, int])
    plain.using(after=other).enqueue("c")


def many(numbers: list[int]) -> None:
    """`enqueue_many` keeps one result type, and joins those of a mixed list."""
    assert_type(plain.call("a", k=3), Call[dict[str, int]])
    same = app.enqueue_many([plain.call("a"), plain.using(priority=9).call("b")])
    assert_type(same, list[Job[dict[str, int]]])
    generated = app.enqueue_many(shared.call(n) for n in numbers)
    assert_type(generated, list[Job[float]])
    mixed = app.enqueue_many([plain.call("a"), notify.call(1, "hi")], durability="local")
    for job in mixed:
        job.cancel()


async def many_async() -> None:
    """The async twin gives the same types."""
    same = await app.aenqueue_many([fetch.call("a"), fetch.call("b")])
    assert_type(same, list[Job[bytes]])


@app.on_runner_start
def connect() -> None:
    """A start hook."""


@app.on_runner_stop
async def disconnect() -> None:
    """A stop hook."""


@app.task
def steered() -> int:
    """What a task may do with its own job."""
    job = current_job()
    assert_type(job.attempt, int)
    assert_type(job.claim_number, int)
    assert_type(job.cancelled, bool)
    job.progress({"done": 3, "of": 10})
    job.log("three of ten")
    job.checkpoint([1, 2, 3])
    assert_type(job.last_checkpoint(list[int]), list[int] | None)
    try:
        raise Retry(after="10s", reason="busy")
    except SoftTimeLimit:
        raise Snooze(60) from None
    except TimeoutError:
        raise Discard("pointless") from None


@app.task
def signed(user: str, token: Secret[str], old: Secret[bytes] | None = None) -> int:
    """A task with secret parameters."""
    assert_type(token.reveal(), str)
    return len(token.reveal())


assert_type(signed.enqueue("ann", token=Secret("s3cret")), Job[int])
assert_type(signed("ann", Secret("s3cret"), Secret(b"old")), int)

app.include(shared, shared_async)
assert_type(app.bound(shared).enqueue(n=1), Job[float])
assert_type(connect(), None)
