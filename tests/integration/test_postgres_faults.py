"""A server that is stopped, unreachable or silent: what callers know, and how soon they work."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from penstock.broker import requests as r
from penstock.brokers.postgres import PostgresBroker
from penstock.core import settlement as s
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support.eventually import eventually
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres_schema import claim, counted, new_job, open_lease, put
from tests.support.postgres_server import PostgresServer

#: Seconds within which everything is as before once the server answers again (F05, F12).
BACK_S = 2.0
#: Seconds; a caller of a silent server is told after one, on a machine busy with other tests.
TOLD_S = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's own, which keeps what it promises."""
    with closing(PostgresServer()) as found:
        yield found


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[FaultProxy]:
    """A network to it that can fail."""
    with FaultProxy(server.port) as found:
        yield found


def through(proxy: FaultProxy) -> str:
    """Return the URL of the server behind the proxy."""
    return f"postgresql://penstock@127.0.0.1:{proxy.port}/postgres"


def test_a_crash_loses_nothing_and_work_goes_on(server: PostgresServer) -> None:
    """Accepted jobs are there after an immediate stop, and handles from before work within 2 s."""
    with closing(PostgresBroker.open(server.url)) as broker:
        accepted = put(broker, 20)
        (first, *_) = claim(broker, open_lease(broker), limit=1)
        done = s.Complete(id=first.id, fence=first.fence, outcome="succeeded", result=b"1")
        assert list(broker.settle([done])) == [s.Applied.APPLIED]
        for _ in range(3):
            server.stop(signal.SIGQUIT)
            with pytest.raises(Unavailable, match="nothing was written"):
                put(broker)
            server.start()
            started = time.monotonic()
            accepted += put(broker)
            assert time.monotonic() - started < BACK_S
        known = broker.peek(accepted)
        assert all(status is not None for status in known)
        assert counted(broker).completed == 1


def test_a_listener_hears_again_after_a_restart(server: PostgresServer) -> None:
    """It listens anew by itself, and wakes its sleeper, who may have missed something."""
    with (
        closing(PostgresBroker.open(server.url)) as broker,
        closing(broker.listen()) as listener,
    ):
        server.stop(signal.SIGINT)
        server.start()
        assert listener.wait(BACK_S)
        assert listener.breaks == 2
        lease = open_lease(broker)
        while claim(broker, lease, limit=500, wake_token=listener.token):
            pass
        put(broker)
        assert listener.wait(TOLD_S)


def test_ended_sessions_are_replaced(server: PostgresServer) -> None:
    """An operator who ends all sessions is not noticed by the next call."""
    with closing(PostgresBroker.open(server.url)) as broker:
        put(broker)
        with closing(psycopg.connect(server.url, autocommit=True)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE application_name = 'penstock'"
            )
        put(broker)


def test_a_silent_server_is_given_up(server: PostgresServer, proxy: FaultProxy) -> None:
    """A call that nobody answers ends by itself, and one after the silence goes through."""
    with closing(PostgresBroker.open(through(proxy))) as broker:
        put(broker)
        request = new_job(broker)
        proxy.swallow(calls=True, replies=True)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            broker.enqueue([request])
        # The second one has no connection left, and knows that nothing was written.
        with pytest.raises(Unavailable):
            broker.enqueue([request])
        assert time.monotonic() - started < TOLD_S
        proxy.mend()
        (answer,) = broker.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert not answer.duplicate


def test_a_lost_answer_to_commit_is_told_as_unknown(
    server: PostgresServer, proxy: FaultProxy
) -> None:
    """The job is stored, the caller is told that it may be, and asking again finds it."""
    with closing(PostgresBroker.open(through(proxy))) as broker:
        before = (put(broker), counted(broker).queued)[1]
        request = new_job(broker)
        proxy.swallow(replies=True)
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            broker.enqueue([request])
        proxy.mend()
        (answer,) = broker.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert answer.duplicate
        assert counted(broker).queued == before + 1


def test_a_lost_connection_before_commit_is_definite(
    server: PostgresServer, proxy: FaultProxy
) -> None:
    """A settlement of several statements that is cut off before COMMIT wrote nothing."""
    with closing(PostgresBroker.open(through(proxy))) as broker:
        put(broker)
        (job,) = claim(broker, open_lease(broker), limit=1)
        proxy.swallow(replies=True)
        retry = s.Release(id=job.id, fence=job.fence, outcome="interrupted")
        with pytest.raises(Unavailable, match="nothing was written"):
            broker.settle([retry])
        proxy.mend()
        assert list(broker.settle([retry])) == [s.Applied.APPLIED]


def test_a_server_that_is_not_there_is_told_at_once(server: PostgresServer) -> None:
    """Opening a broker on a port where nobody listens is refused, definitely."""
    with FaultProxy(server.port) as gone:
        url = through(gone)
    with pytest.raises(Unavailable, match="start the server"):
        PostgresBroker.open(url)


def test_a_locked_row_holds_nobody_up_for_ever(server: PostgresServer) -> None:
    """A claim passes a job that another transaction holds, and takes the next one."""
    with closing(PostgresBroker.open(server.url)) as broker:
        lease = open_lease(broker)
        while claim(broker, lease, limit=500):
            pass
        held, free = put(broker)[0], put(broker)[0]
        with closing(psycopg.connect(server.url)) as connection:
            connection.execute("SELECT FROM penstock.job WHERE id = %s FOR UPDATE", (held,))
            assert [job.id for job in claim(broker, lease, limit=1)] == [free]
        eventually(
            lambda: [job.id for job in claim(broker, lease, limit=1)] == [held],
            within_s=TOLD_S,
            what="the job that was held",
        )
