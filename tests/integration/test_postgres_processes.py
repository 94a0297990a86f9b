"""Several processes on one PostgreSQL database: claims, forks, workers, wake-ups."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from penstock import App
from penstock.brokers.postgres import PostgresBroker
from tests.support import library_app as tasks
from tests.support.eventually import eventually
from tests.support.postgres_schema import QUEUE, ask, claim, counted, fresh_schema, open_lease, put

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for other processes, on a machine that is busy with other tests.
DEADLINE_S = 50.0


@pytest.fixture
def url() -> Iterator[str]:
    """Tables of this test's own."""
    with fresh_schema() as found:
        yield found


def actor(name: str, url: str) -> subprocess.Popen[str]:
    """Start a program of `postgres_actor`."""
    return subprocess.Popen(
        # Python 3.12 and newer warn of any fork with threads; forking with them is what is tested.
        [sys.executable, "-W", "ignore", "-m", "tests.support.postgres_actor", name, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_claim_disjoint_jobs(url: str) -> None:
    """Three that drain one queue at once get each job once, and the counters are true."""
    with closing(PostgresBroker.open(url)) as broker, ExitStack() as stack:
        accepted = put(broker, 300)
        drains = [stack.enter_context(actor("drain", url)) for _ in range(3)]
        for one in drains:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        ends = []
        for one in drains:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        for one in drains:
            ends.append(one.communicate(timeout=DEADLINE_S))
            assert (one.returncode, ends[-1][1]) == (0, "")
        claimed = [job_id for out, _ in ends for job_id in out.split()]
        assert sorted(claimed) == sorted(accepted)
        counts = counted(broker)
        assert (counts.queued, counts.running, counts.completed) == (0, 0, 300)


def test_a_fork_takes_nothing_from_its_parent(url: str) -> None:
    """Parent and child use one handle; each has connections of its own, and no job is lost."""
    with actor("fork", url) as one:
        out, err = one.communicate(timeout=DEADLINE_S)
    assert (one.returncode, err) == (0, "")
    with closing(PostgresBroker.open(url)) as broker:
        assert {row[0].hex for row in ask(url, "SELECT id FROM job")} == set(out.split())
        assert counted(broker).queued == 1


def test_a_worker_drains_the_queue(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`penstock worker` on a postgres URL runs what the library enqueued; results come back."""
    monkeypatch.setenv("PENSTOCK_URL", url)
    monkeypatch.setattr(tasks.app, "_config", None)
    app: App = tasks.app
    one, two, three = (tasks.Order(n, Path(f"order {n}")) for n in range(3))
    try:
        jobs = [tasks.typed.enqueue(one, two, last=three) for _ in range(20)]
        command = [str(Path(sys.executable).with_name("penstock")), "worker", "--burst"]
        done = subprocess.run(
            [*command, "tests.support.library_app:app"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [job.result(timeout=0) for job in jobs] == [[one, two, three]] * 20
    finally:
        app.close()


def test_the_dead_take_no_wake_up(url: str) -> None:
    """A sleeper that was killed is passed over for the next one, and `prune` forgets it."""
    with closing(PostgresBroker.open(url)) as broker, closing(broker.listen()) as listener:
        lease = open_lease(broker)
        with actor("sleep", url) as one:
            assert one.stdout is not None
            assert one.stdout.readline() == "asleep\n"
            one.kill()
            one.communicate(timeout=DEADLINE_S)
        # Its server process ends when it reads the end of the connection.
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '%{}')"
        [(dead,)] = ask(url, "SELECT token FROM waiter")
        eventually(
            lambda: ask(url, gone.format(dead)) == [(True,)],
            within_s=DEADLINE_S,
            what="the end of the dead sleeper's session",
        )
        assert claim(broker, lease, wake_token=listener.token) == ()
        put(broker)
        assert listener.wait(DEADLINE_S)
        assert ask(url, "SELECT token FROM waiter") == [(dead,)]
        broker.prune([QUEUE], [], limit=1)
        assert ask(url, "SELECT token FROM waiter") == []


def test_a_paused_queue_keeps_its_sleepers(url: str) -> None:
    """A job that comes into a paused queue uses no token up: the sleeper is woken by `resume`."""
    with closing(PostgresBroker.open(url)) as broker, closing(broker.listen()) as listener:
        lease = open_lease(broker)
        broker.pause(QUEUE)
        assert claim(broker, lease, wake_token=listener.token) == ()
        put(broker)
        assert ask(url, "SELECT token FROM waiter") == [(listener.token,)]
        broker.resume(QUEUE)
        assert ask(url, "SELECT token FROM waiter") == []
        assert listener.wait(DEADLINE_S)
