"""F12: PostgreSQL crashes and sessions are ended under a worker's load, beside an idle snapshot."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import psycopg
import pytest

from penstock import Job
from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.task import Call
from tests.chaos import tasks
from tests.support import history as h
from tests.support.checker import check, report
from tests.support.dump import take_dump
from tests.support.eventually import eventually
from tests.support.postgres_server import PostgresServer
from tests.support.site import Site
from tests.support.summary import Publish, summarise

#: Faults of each kind.
RESTARTS = 5
#: Seconds from the server's first answer until a worker has its next job done (F12).
BACK_S = 2.0
#: Coroutines of the worker at once: as many jobs may run again after each crash.
COROUTINES = 16
#: A crash of the server may take the claims of the last 0.6 s, in any class (ADR-0017). Such a job
#: is claimed again while its first attempt runs, whose settlement is then stale. So these three,
#: which say that each start has its cause and no two overlap, do not hold here.
NOT_HERE = frozenset({"I3", "I4", "I5"})


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, as it comes: what is accepted is on the disk."""
    with closing(PostgresServer()) as found:
        yield found


class Producer:
    """Enqueues jobs one after the other until each is accepted, in a thread of its own.

    A key makes a repeat after an unknown outcome harmless, as users are told to do.

    Attributes:
        jobs: the accepted ones.
        refused: calls that were told that nothing is stored, or that nobody knows.
        failures: what else was raised; nothing may be.
    """

    def __init__(self, site: Site, count: int) -> None:
        """Start it."""
        self._site = site
        self._count = count
        self.jobs: list[Job[tasks.Report]] = []
        self.refused = 0
        self.failures: list[Exception] = []
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end once it has its count."""
        self._is_stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while len(self.jobs) < self._count or not self._is_stopped.is_set():
                key = f"job {len(self.jobs)}"
                self._enqueue(tasks.wait.using(key=key).call(0.02))
                # More than the worker does in the same time would only wait.
                time.sleep(0.002)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failures.append(error)

    def _enqueue(self, call: Call[tasks.Report]) -> None:
        while True:
            try:
                [job] = self._site.app.enqueue_many([call])
            except (Unavailable, OutcomeUnknown):
                self.refused += 1
                time.sleep(0.02)
            else:
                self.jobs.append(job)
                self._site.accepted(job, call)
                return


class IdleSnapshot:
    """A transaction of somebody else's that stays open, and keeps dead rows from being cleared."""

    def __init__(self, server: PostgresServer) -> None:
        """Open it."""
        self._connection = psycopg.connect(server.url, application_name="idle")
        self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._connection.execute("SELECT count(*) FROM penstock.job")

    def close(self) -> None:
        """End it, where the server has not done so."""
        with suppress(psycopg.Error):
            self._connection.close()


def crash(server: PostgresServer) -> None:
    """Restart the server as `pg_ctl restart -m immediate` does."""
    server.stop(signal.SIGQUIT)
    server.start()


def end_sessions(server: PostgresServer) -> None:
    """End every session but that of the idle snapshot."""
    with closing(psycopg.connect(server.url, autocommit=True)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            "AND application_name <> 'idle'"
        )


def next_end(site: Site, producer: Producer, what: str) -> float:
    """Return after how many seconds a runner has settled a job, from now on."""
    now_ns = h.boot_ns()

    def look() -> h.FinishReplied | None:
        assert not producer.failures, producer.failures
        replies = h.of_type(h.FinishReplied, site.events())
        return next((one for one in replies if one.at_ns > now_ns and one.reply == "ok"), None)

    ended = eventually(look, within_s=30, what=f"a job to end {what}", state=site.report)
    return (ended.at_ns - now_ns) / 1e9


@pytest.mark.timeout(600)
def test_crashes_of_the_server_lose_nothing(
    server: PostgresServer,
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """F12: accepted jobs all complete, and work goes on within 2 s of the server's answer."""
    site = make_site("f12", url=server.url, coroutines=str(COROUTINES))
    began = time.monotonic()
    worker = site.start_ready()
    producer = Producer(site, count(400, 2_000))
    healed_s: list[float] = []
    for number in range(2 * RESTARTS):
        snapshot = IdleSnapshot(server)
        # Under load: the fault comes while jobs are settled.
        next_end(site, producer, "before the fault")
        site.fault("outage", ())
        (crash if number % 2 else end_sessions)(server)
        healed_s.append(next_end(site, producer, "after the fault"))
        snapshot.close()
    producer.stop()
    assert not producer.failures, producer.failures
    site.wait_final([job.id for job in producer.jobs], within_s=60)
    leftovers = site.drain(worker)
    events, dump = site.events(), take_dump(site.broker, leftovers=leftovers)
    publish(summarise("F12 PostgreSQL restarts", events, dump, time.monotonic() - began), events)
    broken = [one for one in check(events, dump) if one.invariant not in NOT_HERE]
    assert not broken, report(broken, f"in {site.folder}\n{site.report()}")
    assert {dump.jobs[job.id].state for job in producer.jobs} == {State.COMPLETED}
    assert max(healed_s) <= BACK_S, healed_s
    assert producer.refused > 0, "no fault was felt by the producer"
    repeated = len(h.of_type(h.Started, events)) - len(producer.jobs)
    assert repeated <= COROUTINES * RESTARTS * 2, repeated
