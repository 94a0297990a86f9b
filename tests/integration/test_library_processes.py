"""The library in real processes over a real file: forks, preload, threads, loops, children."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock import App, Durability, State
from penstock.core.lifecycle import FINAL
from penstock.errors import ResultTimeout
from penstock.testing.sandbox_worker import SandboxWorker

#: A script that knows the file by its first argument.
HEAD = """
import os, sys, threading
from penstock import App
app = App("sqlite:///" + sys.argv[1])
@app.task(name="double")
def double(n: int) -> int:
    return 2 * n
"""


def double(n: int) -> int:
    """Return twice the number."""
    return 2 * n


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The broker's file."""
    return tmp_path / "jobs.db"


def run(script: str, *arguments: object, **environment: str) -> str:
    """Run a script in a fresh process and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def payloads(file: Path) -> list[int]:
    """Return the numbers of all stored jobs, sorted."""
    from penstock.broker.requests import JobFilter

    app = App(f"sqlite:///{file}")
    page = app.broker.list_jobs(JobFilter(), limit=500, before=None)
    numbers = sorted(json.loads(bytes(job.spec.payload))["n"] for job in page.jobs)
    assert sum(counts.queued for counts in app.broker.counts()) == len(numbers)
    app.close()
    return numbers


def test_fresh_process_enqueues_without_heavy_imports(file: Path) -> None:
    """The first accepted enqueue loads no event loop, no command line, no process tools."""
    printed = run(
        """
job = double.enqueue(3)
heavy = {"asyncio", "typer", "rich", "click", "psutil", "logging", "concurrent.futures", "ssl"}
print(job.durability, sorted(heavy & set(sys.modules)))
""",
        file,
    )
    assert printed == "fsync []\n"
    assert payloads(file) == [3]


def test_forks_enqueue_beside_their_parent(file: Path) -> None:
    """Forked after use (gunicorn --preload): every process enqueues 20 jobs, all are there."""
    run(
        """
double.enqueue(0)
for child in range(4):
    if os.fork() == 0:
        jobs = [double.enqueue(100 * (child + 1) + n) for n in range(20)]
        assert all(job.status() == "queued" for job in jobs)
        os._exit(0)
for n in range(1, 20):
    double.enqueue(n)
assert all(os.wait()[1] == 0 for _ in range(4))
""",
        file,
    )
    expected = [100 * process + n for process in range(5) for n in range(20)]
    assert payloads(file) == expected


def test_forks_of_an_unused_app_connect_for_themselves(file: Path) -> None:
    """Preloaded but never used: the master opens no file, each fork opens its own."""
    printed = run(
        """
children = []
for child in range(2):
    pid = os.fork()
    if pid == 0:
        double.enqueue(child)
        os._exit(0)
    children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
print([name for name in os.listdir("/proc/self/fd")
       if os.path.exists(f"/proc/self/fd/{name}")
       and os.readlink(f"/proc/self/fd/{name}").startswith(sys.argv[1])])
""",
        file,
    )
    assert printed == "[]\n"
    assert payloads(file) == [0, 1]


def test_fork_while_threads_enqueue(file: Path) -> None:
    """A fork in the middle of other threads' enqueues inherits no lock: its own enqueue ends."""
    run(
        """
double.enqueue(5000)
stop = threading.Event()
def work(base):
    n = 0
    while not stop.is_set():
        double.enqueue(base + n)
        n += 1
threads = [threading.Thread(target=work, args=(1000 * k,), daemon=True) for k in (1, 2)]
for thread in threads:
    thread.start()
for child in range(10):
    pid = os.fork()
    if pid == 0:
        double.enqueue(child)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
""",
        file,
    )
    assert [n for n in payloads(file) if n < 1000] == list(range(10))


def test_two_event_loops_in_one_process(file: Path) -> None:
    """Two asyncio.run one after the other, then two at once in threads: all jobs are accepted."""
    app = App(f"sqlite:///{file}")
    task = app.task(name="double")(double)

    async def enqueue(base: int) -> list[str]:
        jobs = await asyncio.gather(*(task.aenqueue(base + n) for n in range(50)))
        assert await jobs[0].astatus() is State.QUEUED
        return [job.id for job in jobs]

    ids = asyncio.run(enqueue(0)) + asyncio.run(enqueue(50))
    threads = [
        threading.Thread(target=lambda base=base: ids.extend(asyncio.run(enqueue(base))))
        for base in (100, 150)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.close()
    assert len(set(ids)) == 200
    assert payloads(file) == list(range(200))


def test_sync_calls_from_many_threads(file: Path) -> None:
    """Eight threads share an app that none has used before."""
    app = App(f"sqlite:///{file}")
    task = app.task(name="double")(double)
    start = threading.Barrier(8)

    def enqueue(base: int) -> None:
        start.wait()
        for n in range(10):
            task.enqueue(base + n)
        app.enqueue_many([task.call(base + n) for n in range(10, 40)])

    threads = [threading.Thread(target=enqueue, args=(40 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.close()
    assert payloads(file) == list(range(320))


def test_child_process_may_not_connect(file: Path) -> None:
    """With PENSTOCK_CHILD=1 the default way is refused, and an installed enqueuer works."""
    printed = run(
        """
from penstock.errors import WrongContext
try:
    double.enqueue(1)
except WrongContext as error:
    print("refused", "child process" in str(error))
from penstock.broker.clock import SystemClock
from penstock.brokers.sqlite import SqliteBroker
inner = SqliteBroker.open(sys.argv[1], clock=SystemClock())
class Pipe:
    def register(self, queues): return inner.register(queues)
    def enqueue(self, jobs, *, durability=None): return inner.enqueue(jobs, durability=durability)
app.install_enqueuer(Pipe())
print(double.enqueue(2).durability)
""",
        file,
        PENSTOCK_CHILD="1",
    )
    assert printed == "refused True\nfsync\n"
    assert payloads(file) == [2]


def test_memory_broker_does_not_follow_a_fork(file: Path) -> None:
    """A fork would enqueue into a memory that nobody looks at: it is told so."""
    run(
        """
from penstock.errors import WrongContext
memory = App("memory://")
task = memory.task(name="double")(lambda: None)
task.enqueue()
if os.fork() == 0:
    try:
        task.enqueue()
    except WrongContext as error:
        os._exit(0 if "sqlite:///FILE" in str(error) else 1)
    os._exit(2)
assert os.wait()[1] == 0
assert [counts.queued for counts in memory.broker.counts()] == [1]
""",
        file,
    )


class Worker:
    """Runs the jobs of an app in a thread, as long as the test lasts."""

    def __init__(self, app: App, file: Path) -> None:
        self.app = App(f"sqlite:///{file}")
        self.worker = SandboxWorker(
            self.app.broker,
            app.registry,
            (),
            call_plain=lambda _run, function: _now(function),
            random_unit=lambda: 0.0,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self) -> None:
        """Claim and run until told to stop."""
        while not self.stop.is_set():
            job, _ = self.worker.claim()
            if job is None:
                self.stop.wait(0.002)
            else:
                asyncio.run(self.worker.run(job))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_error: object) -> None:
        self.stop.set()
        self.thread.join()
        self.app.close()


async def _now(function: object) -> object:
    assert callable(function)
    return function()


def test_results_are_waited_for(file: Path) -> None:
    """Result and aresult wait while another thread runs the jobs, and read the return type."""
    app = App(f"sqlite:///{file}")

    @app.task(name="both")
    def both(n: int) -> tuple[int, bytes]:
        return n, bytes(n)

    early = both.enqueue(1)
    with pytest.raises(ResultTimeout):
        early.result(timeout=0.01)

    async def many() -> list[tuple[int, bytes]]:
        jobs = await app.aenqueue_many([both.call(n) for n in range(20)])
        return await asyncio.gather(*(job.aresult(timeout="30s") for job in jobs))

    with Worker(app, file):
        assert early.result(timeout="30s") == (1, b"\0")
        assert asyncio.run(many()) == [(n, bytes(n)) for n in range(20)]
        assert app.job(early.id).result() == [1, "AA=="]
    assert early.status() in FINAL
    app.close()


def test_wait_for_a_result_can_be_interrupted(file: Path) -> None:
    """Ctrl-C ends a waiting result(), and the job goes on."""
    script = """
job = double.enqueue(1)
try:
    print("waiting", flush=True)
    job.result()
except KeyboardInterrupt:
    print(job.status())
"""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + script, str(file)], stdout=subprocess.PIPE, text=True
    ) as waiter:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waiting\n"
        waiter.send_signal(signal.SIGINT)
        assert waiter.stdout.read() == "queued\n"
    assert waiter.returncode == 0


def test_each_durability_class_is_told(file: Path) -> None:
    """The answer names the class: fsync by default, local where the app or the call says so."""
    app = App(f"sqlite:///{file}")
    task = app.task(name="double")(double)
    assert task.enqueue(1).durability is Durability.FSYNC
    assert task.using(durability="local").enqueue(2).durability is Durability.LOCAL
    jobs = app.enqueue_many(
        [task.call(3), task.using(durability="fsync").call(4)], durability="local"
    )
    assert [job.durability for job in jobs] == [Durability.LOCAL, Durability.FSYNC]
    app.close()
    local = App(f"sqlite:///{file}", settings={"durability": "local"})
    assert local.task(name="double")(double).enqueue(5).durability is Durability.LOCAL
    local.close()


def test_closed_app_opens_again(file: Path) -> None:
    """Close lets go of the file; the next call opens it again, also in an event loop."""
    app = App(f"sqlite:///{file}")
    task = app.task(name="double")(double)

    async def enqueue(n: int) -> None:
        await task.aenqueue(n)

    for n in range(3):
        task.enqueue(n)
        asyncio.run(enqueue(10 + n))
        app.close()
    assert payloads(file) == [0, 1, 2, 10, 11, 12]
