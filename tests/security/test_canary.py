"""A canary in secret arguments is seen nowhere, on any broker, whatever becomes of the job (SEC22).

Its jobs succeed, fail, are tried again, die, are cancelled and requeued, in coroutines, threads and
children; then everything is read that they could have left: stores, files, logs, pages.
"""

from __future__ import annotations

import base64
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from penstock import App, Secret
from penstock.broker.requests import JobFilter
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.core.secret import KEY_BYTES, key_text
from penstock.worker.supervisor.health import health_dir, health_sockets, read_health
from tests.security.canary_app import TASKS, Account
from tests.support.command_line import penstock
from tests.support.postgres_server import fresh_database, program
from tests.support.redis_server import redis_server
from tests.support.side_by_side import SideBySide
from tests.support.supervised import SOON_S, Supervised

TOKEN, PASSWORD = "canary-token-4b1d", "canary-password-9c2e"
KEY = (b"\xa7canary-key!" * KEY_BYTES)[:KEY_BYTES]
#: No encoding of them may be seen either.
FORBIDDEN = [
    form
    for word in (TOKEN.encode(), PASSWORD.encode(), KEY)
    for form in (word, word.hex().encode(), base64.b64encode(word).rstrip(b"=")[:-1])
]
#: What becomes of a job -> the state that it ends in.
FATES = {"": "completed", "retry": "completed", "fail": "dead", "crash": "completed"}
Store = tuple[str, Callable[[], Iterator[tuple[str, bytes]]]]
"""URL of a store, and what reads all that it holds."""


def jobs(site: Supervised, app: App) -> None:
    """Run a job of every kind to every end."""
    account = Account("ann", Secret(PASSWORD))
    bound = {name: app.bound(task) for name, task in TASKS.items()}
    running = [
        (fate, task.enqueue(Secret(TOKEN), account, how))
        for task in bound.values()
        for how, fate in FATES.items()
    ]
    running.append(("completed", bound["child"].enqueue(Secret(TOKEN), account, "pass on")))
    waiting = [task.using(queue="later").enqueue(Secret(TOKEN), account) for task in bound.values()]
    cancelled = [task.enqueue(Secret(TOKEN), account, "wait") for task in bound.values()]
    for job in cancelled:
        site.wait_attempt(job, lambda attempt: attempt.pid, "one that waits")
        site.cancel(job)
    waiting[0].cancel()
    records = site.wait_final(*(job for _, job in running), *cancelled)
    ends = [record.state.value for record in records]
    assert ends == [fate for fate, _ in running] + ["cancelled"] * len(cancelled), records
    length = len(TOKEN) + len(PASSWORD)
    for record in records:
        if record.state is State.COMPLETED:
            assert record.result is not None
            assert msgspec.json.decode(record.result) == length, record
        if record.reason is Reason.RETRIES_EXHAUSTED:
            assert record.error is not None
            assert record.error.message == "('no', •••, Account(user='ann', password=•••))"
    dead = [record for record in records if record.state is State.DEAD]
    site.broker.requeue([record.id for record in dead])
    site.wait_final(*(job for _, job in running))


def outputs(site: Supervised, env: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield (what, all of it) of what Penstock says about the jobs."""
    pages = site.broker.list_jobs(JobFilter(), limit=100, before=None).jobs
    assert len(pages) > 15, pages
    for record in pages:
        yield "a record", repr(record).encode()
    dead = next(record.id for record in pages if record.state is State.DEAD)
    said = ("jobs", "dead", "config", f"job {dead}", f"job {dead} --json", "doctor --worker --json")
    for words in said:
        ended = penstock(*words.split(), folder=site.folder, env=env)
        assert words.startswith("job ") <= ("•••" in ended.out), ended
        yield f"penstock {words}", (ended.out + ended.err).encode()
    for worker in site.workers:
        yield "log", worker.log().encode()
        assert "using ••• Account(user='ann', password=•••)" in worker.log()
    for path in health_sockets(health_dir({"TMPDIR": str(site.folder)})):
        yield "health", repr(read_health(path)).encode()


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every file in a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


def refuse(found: Iterator[tuple[str, bytes]]) -> int:
    """Fail where a canary is in what was found; return how many bytes were looked at."""
    size = 0
    for what, data in found:
        for word in FORBIDDEN:
            assert word not in data, (what, word, data[max(0, data.find(word) - 200) :][:500])
        size += len(data)
    return size


def redis_store(stack: ExitStack, folder: Path) -> Store:
    """Start a server; its keys, its snapshot and its append-only file are read, uncompressed."""
    folder.mkdir()
    server = stack.enter_context(redis_server(folder, "--rdbcompression", "no"))

    def read() -> Iterator[tuple[str, bytes]]:
        with server.client() as client:
            client.save()
            for key in client.scan_iter("*"):
                yield f"key {key!r}", repr(client.dump(key)).encode()
        yield from files(folder)

    return server.url, read


def postgres_store(stack: ExitStack, _folder: Path) -> Store:
    """Make a database; every row of every table is read."""
    url = stack.enter_context(fresh_database())

    def read() -> Iterator[tuple[str, bytes]]:
        command = [program("pg_dump"), "--inserts", url]
        yield "pg_dump", subprocess.run(command, capture_output=True, check=True).stdout

    return url, read


def sqlite_store(_stack: ExitStack, folder: Path) -> Store:
    """Make a file; it is read with its log and its index."""
    folder.mkdir()
    return f"sqlite:///{folder / 'penstock.db'}", lambda: files(folder)


STORES = {"sqlite": sqlite_store, "redis": redis_store, "postgres": postgres_store}


def scenario(kind: str, folder: Path) -> None:
    """Run all on one broker, and look at everything."""
    folder.mkdir()
    keys = key_text("k1", KEY)
    with ExitStack() as stack:
        url, read = STORES[kind](stack, folder / "store")
        site = stack.enter_context(Supervised(folder, url=url, log_level="debug", secret_keys=keys))
        worker = site.start(app="tests.security.canary_app:app")
        site.wait_health(worker, lambda health: health.ready, "it to be ready")
        app = App(url, settings={"secret_keys": keys})
        app.include(*TASKS.values())
        jobs(site, app)
        env = {"PENSTOCK_URL": url, "PENSTOCK_SECRET_KEYS": keys}
        assert refuse(outputs(site, env)) > 10_000
        assert refuse(read()) > 5_000
        app.close()
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert refuse(read()) > 5_000
        assert refuse(files(folder)) > 5_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    """All brokers at once: they mostly wait."""
    with SideBySide.of_stores(scenario, STORES, tmp_path_factory.mktemp("canary")) as started:
        yield started


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", STORES)
def test_a_secret_is_seen_nowhere(running: SideBySide, kind: str) -> None:
    """Neither the store nor anything that Penstock prints, logs or answers holds the canary."""
    running.wait(kind)
