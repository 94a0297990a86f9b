"""What is written straight into a broker is data: it is never executed, imported or raised.

Pickles, YAML, task names that are paths to code and errors that name classes (SEC11-SEC14) are put
into the store of each broker behind Penstock's back; the worker buries them and works on.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import apsw
import psycopg
import pytest
from redis import Redis

from penstock.core.ids import JobId
from penstock.core.job import JobRecord, Reason
from penstock.core.lifecycle import State
from tests.support import supervised_app as tasks
from tests.support.postgres_server import fresh_database
from tests.support.redis_server import redis_server
from tests.support.side_by_side import SideBySide
from tests.support.supervised import Supervised

#: The task whose records are written over, and what it is called in a record.
TASK: Final = tasks.work.name
#: Names that a worker which imports what it is told would run; `touch` makes the file that is
#: looked for in the end.
FOREIGN: Final = (
    "os.system", "posix.system", "builtins.eval", "builtins.exec", "subprocess.run", "a.__class__",
    "penstock.App", f"{TASK}.__globals__", "__import__", "os:system", "../../etc/passwd", "",
)  # fmt: skip


class Bomb:
    """Makes a file as it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self._command,)


def records(touch: str) -> dict[str, bytes]:
    """Return name -> stored record of what must never run; `touch` is the command in them."""
    whole = b'{"task":"%s","payload":%s}'
    task, command = TASK.encode(), touch.encode()
    found = {f"pickle {n}": pickle.dumps(Bomb(touch), protocol=n) for n in (0, 2, 5)}
    found["yaml"] = b"!!python/object/apply:os.system ['%s']" % command
    found["yaml payload"] = whole % (task, b'!!python/object/apply:os.system ["%s"]' % command)
    found["pickle in the payload"] = whole % (task, pickle.dumps(Bomb(touch), protocol=0))
    found["billion laughs"] = b"a: &a [x,x]\nb: &b [*a,*a]\n" * 50
    found["a tagged payload"] = whole % (
        task,
        b'{"py/reduce":[{"py/type":"os.system"},["%s"]]}' % command,
    )
    found["depth"] = whole % (task, b'{"seconds":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    found["digits"] = whole % (task, b'{"seconds":' + b"9" * 400_000 + b"}")
    found["nodes"] = whole % (task, b'{"seconds":[' + b"0," * 400_000 + b"0]}")
    found["keys"] = whole % (task, b"{" + b'"seconds":[],' * 20_000 + b'"seconds":[]}')
    return found


def names(touch: str) -> dict[str, bytes]:
    """Return name -> stored record of tasks that nobody registered."""
    whole = b'{"task":"%s","payload":{"command":"%s"}}'
    return {f"task {n!r}": whole % (n.encode(), touch.encode()) for n in FOREIGN}


def in_sqlite(url: str, written: dict[JobId, bytes]) -> None:
    """Write over the records of jobs in a file."""
    with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as connection:
        connection.set_busy_timeout(10_000)
        with connection:
            for job, record in written.items():
                connection.execute("UPDATE job SET spec = ? WHERE id = ?", (record, job))


def in_redis(url: str, written: dict[JobId, bytes]) -> None:
    """Write over the records of jobs on a Redis, behind their heads."""
    with closing(Redis.from_url(url)) as client:
        for job, record in written.items():
            short, key = bytes.fromhex(job[:16] + job[20:]), "penstock:{default}:spec"
            stored = client.hget(key, short)
            assert isinstance(stored, bytes), job
            parts = 1 if stored.startswith(b".") else 6
            head = b";".join(stored.split(b";", parts)[:parts])
            client.hset(key, short, head + b";" + record)


def in_postgres(url: str, written: dict[JobId, bytes]) -> None:
    """Write over the records of jobs in a database."""
    with psycopg.connect(url) as connection:
        for job, record in written.items():
            sql = "UPDATE penstock.job SET spec = %s WHERE id = %s"
            assert connection.execute(sql, (record, job)).rowcount == 1


def on_sqlite(_stack: ExitStack, folder: Path) -> str:
    """Return the URL of a file."""
    return f"sqlite:///{folder / 'penstock.db'}"


def on_redis(stack: ExitStack, folder: Path) -> str:
    """Return the URL of a server."""
    return stack.enter_context(redis_server(folder)).url


def on_postgres(stack: ExitStack, _folder: Path) -> str:
    """Return the URL of a database."""
    return stack.enter_context(fresh_database())


Open = Callable[[ExitStack, Path], str]
Write = Callable[[str, dict[JobId, bytes]], None]
BROKERS: Final[dict[str, tuple[Open, Write]]] = {
    "sqlite": (on_sqlite, in_sqlite),
    "redis": (on_redis, in_redis),
    "postgres": (on_postgres, in_postgres),
}


def scenario(kind: str, folder: Path) -> None:
    """Write all of it into one broker, then let a worker at it."""
    folder.mkdir()
    begin, write = BROKERS[kind]
    mark = folder / "executed"
    touch = f"touch {mark}"
    bad, foreign = records(touch), names(touch)
    with ExitStack() as stack:
        url = begin(stack, folder)
        site = stack.enter_context(Supervised(folder, url=url))
        site.broker.register(["default"])
        site.broker.pause("default")
        jobs = site.enqueue(*(tasks.work.call(0.0) for _ in (*bad, *foreign)))
        (good,) = site.enqueue(tasks.work.using(priority=0).call(0.0, "good"))
        ids = [JobId(job.id) for job in jobs]
        write(url, dict(zip(ids, (*bad.values(), *foreign.values()), strict=True)))
        site.broker.resume("default")
        worker = site.start_ready()
        dead = site.wait_final(*jobs[: len(bad)])
        (done,) = site.wait_final(good)
        assert done.state is State.COMPLETED, done
        for name, record in zip(bad, dead, strict=True):
            assert is_buried(record), (name, record)
        for name, job in zip(foreign, jobs[len(bad) :], strict=True):
            site.wait_attempt(job, lambda attempt: attempt.outcome, f"the end of {name}")
            record = site.record(job)
            assert record.attempts[-1].outcome == "task_unknown", (name, record)
            assert record.error is not None
            assert "no task named" in record.error.message, (name, record)
        health = site.health(worker)
        assert health is not None
        assert health.restarts == 0, worker.report()
        assert not mark.exists(), "something was executed"


def is_buried(record: JobRecord) -> bool:
    """Tell whether a job died for its payload, in one attempt, with words about it."""
    return (
        (record.state, record.reason) == (State.DEAD, Reason.BAD_PAYLOAD)
        and record.error is not None
        and bool(record.error.message)
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    """All brokers at once: they mostly wait."""
    with SideBySide.of_stores(scenario, BROKERS, tmp_path_factory.mktemp("foreign")) as started:
        yield started


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", BROKERS)
def test_foreign_records_are_buried_and_never_run(running: SideBySide, kind: str) -> None:
    """Each is dead or unknown with a reason, nothing ran, and the job behind them completes."""
    running.wait(kind)


def test_a_bomb_would_go_off(tmp_path: Path) -> None:
    """Whoever unpickled one of them would leave the file that is looked for."""
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Bomb(f"touch {mark}")))  # noqa: S301 - our own, to see it go off
    assert mark.exists()
