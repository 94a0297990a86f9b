"""Redis dead, deaf, mute or forgetful: what callers are told, and that nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.brokers.redis import RedisBroker
from penstock.core import settlement as s
from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from penstock.errors import BrokerError, OutcomeUnknown, Unavailable
from tests.support.eventually import eventually
from tests.support.fault_proxy import FaultProxy
from tests.support.port_actor import QUEUE, PortActor, completions
from tests.support.redis_server import RedisServer, redis_server

#: Seconds within which a caller must know, and as many for a machine that is busy with other tests.
KNOWN_S = 1.0 + 1.0
#: Seconds after a restart until all works again, and as many for such a machine.
BACK_S = 2.0 + 2.0
#: Seconds for what should happen.
SOON_S = 30.0
#: Restarts of the test with kills, and jobs accepted between two of them.
RESTARTS = 3
JOBS_BETWEEN = 100


@pytest.fixture
def actor(redis: RedisServer) -> Iterator[PortActor]:
    """An actor on a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    with closing(RedisBroker.open(redis.url)) as broker:
        broker.register([QUEUE])
        yield PortActor(broker)


@pytest.fixture
def hole(redis: RedisServer, actor: PortActor) -> Iterator[FaultProxy]:
    """A way to the server of `actor` that can swallow things."""
    assert actor.broker.counts()
    with FaultProxy(redis.port) as made:
        yield made


def url_of(hole: FaultProxy) -> str:
    """Return the URL of the server behind it."""
    return f"redis://127.0.0.1:{hole.port}/0"


def told(call: Callable[[], object]) -> tuple[type[BrokerError], float]:
    """Return the error of a call that fails, and the seconds until it was told."""
    began = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        call()
    return type(caught.value), time.monotonic() - began


def test_a_black_hole_is_known_within_a_second(hole: FaultProxy, actor: PortActor) -> None:
    """A write that was sent is unknown, whatever was not sent is refused, and all soon.

    When the way is free again the same request makes one job, as if nothing had been.
    """
    with closing(RedisBroker.open(url_of(hole))) as broker:
        broker.register([QUEUE])
        request = actor.request()
        hole.swallow(calls=True)
        kind, seconds = told(lambda: broker.enqueue([request]))
        assert (kind, seconds < KNOWN_S) == (OutcomeUnknown, True), seconds
        for call in (lambda: broker.enqueue([request]), broker.counts, broker.listen):
            kind, seconds = told(call)
            assert (kind, seconds < KNOWN_S) == (Unavailable, True), seconds
        kind, seconds = told(lambda: RedisBroker.open(url_of(hole)))
        assert (kind, seconds < KNOWN_S) == (Unavailable, True), seconds
        hole.mend()
        (answer,) = broker.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert not answer.duplicate


def test_a_read_that_is_not_answered_is_refused(hole: FaultProxy) -> None:
    """Nothing is unknown about a call that writes nothing."""
    with closing(RedisBroker.open(url_of(hole))) as broker:
        assert broker.counts()
        hole.swallow(calls=True)
        kind, seconds = told(broker.counts)
        assert (kind, seconds < KNOWN_S) == (Unavailable, True), seconds


def test_a_lost_reply_makes_no_second_job(hole: FaultProxy, actor: PortActor) -> None:
    """An enqueue whose answer was lost is made again, and is the same job; so is its settlement."""
    with closing(RedisBroker.open(url_of(hole))) as broker:
        broker.register([QUEUE])
        request = actor.request()
        hole.swallow(replies=True)
        assert told(lambda: broker.enqueue([request]))[0] is OutcomeUnknown
        eventually(lambda: actor.broker.get(request.id), within_s=SOON_S, what="the job")
        hole.mend()
        (answer,) = broker.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert answer.duplicate
        assert actor.broker.counts()[0].queued == 1
        # Once without a fault, so that the server knows the script.
        actor.put()
        assert actor.broker.settle(completions(actor.take(1))) == [s.Applied.APPLIED]
        (job,) = actor.take(1)
        hole.swallow(replies=True)
        assert told(lambda: broker.settle(completions([job])))[0] is OutcomeUnknown
        eventually(
            lambda: actor.broker.counts()[0].completed == 2, within_s=SOON_S, what="the settlement"
        )
        hole.mend()
        assert broker.settle(completions([job], b"2")) == [s.Applied.STALE]
        record = actor.broker.get(job.id)
        assert record is not None
        assert (record.state, record.result) == (State.COMPLETED, msgspec.Raw(b"1"))
        assert actor.broker.counts()[0].completed == 2


def test_flushed_scripts_are_loaded_again(actor: PortActor, redis: RedisServer) -> None:
    """A server that forgot the scripts, as after a restart, is given them anew with the call."""
    with closing(redis.client()) as client:
        for _ in range(2):
            actor.put(2)
            client.script_flush()
            (job,) = actor.take(1)
            client.script_flush()
            assert actor.broker.settle(completions([job])) == [s.Applied.APPLIED]
    assert actor.broker.counts()[0].completed == 2


def test_a_server_that_lost_its_data_is_used_again(actor: PortActor, redis: RedisServer) -> None:
    """Producers go on with the tags that they know, on a server that came back empty."""
    with closing(RedisBroker.open(redis.url)) as other, closing(redis.client()) as client:
        other.register(["first", QUEUE])
        tag = other.register([QUEUE])[QUEUE]
        client.flushall()
        (job_id,) = actor.put()
        assert actor.broker.register([QUEUE])[QUEUE] == tag
        with closing(RedisBroker.open(redis.url)) as late:
            tags = late.register(["new", "newer", "newest", QUEUE])
            assert len(set(tags.values())) == 4, "no tag is given twice"
            assert tags[QUEUE] == tag
        assert [job.id for job in actor.take(1)] == [job_id]


def test_tags_given_anew_are_refused(actor: PortActor, redis: RedisServer) -> None:
    """A job is never put into the queue that got the old tag of its own: that is told instead."""
    with closing(redis.client()) as client, closing(RedisBroker.open(redis.url)) as late:
        client.flushall()
        late.register(["other"])
        with pytest.raises(Unavailable, match="gave its queues other tags: start this process"):
            actor.put()
        assert [counted.queued for counted in late.counts()] == [0]


class Producer:
    """Enqueues without end, from a thread; what is refused or unknown is made again.

    Attributes:
        accepted: ids, each once its acceptance was told.
        errors: (class, seconds until it was told) of each failure.
    """

    def __init__(self, server: RedisServer) -> None:
        self.accepted: list[JobId] = []
        self.errors: list[tuple[type[BrokerError], float]] = []
        self._broker = RedisBroker.open(server.url)
        self._actor = PortActor(self._broker)
        self._broker.register([QUEUE])
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._enqueue)
        self._thread.start()

    def wait_accepted(self, jobs: int, within_s: float) -> None:
        """Return once so many more jobs are accepted."""
        wanted = len(self.accepted) + jobs
        eventually(
            lambda: len(self.accepted) >= wanted,
            within_s=within_s,
            what=f"{jobs} jobs to be accepted",
            state=lambda: self.errors[-5:],
        )

    def wait_failed(self) -> None:
        """Return once another call has failed."""
        seen = len(self.errors)
        eventually(lambda: len(self.errors) > seen, within_s=SOON_S, what="another error")

    def close(self) -> None:
        """Make it stop."""
        self._is_over.set()
        self._thread.join()
        self._broker.close()

    def _enqueue(self) -> None:
        while not self._is_over.is_set():
            request = self._actor.request()
            while not self._is_over.is_set() and not self._is_accepted(request):
                self._is_over.wait(0.02)

    def _is_accepted(self, request: r.EnqueueRequest) -> bool:
        began = time.monotonic()
        try:
            (answer,) = self._broker.enqueue([request])
        except BrokerError as error:
            self.errors.append((type(error), time.monotonic() - began))
            return False
        assert isinstance(answer, r.Accepted)
        self.accepted.append(answer.id)
        return True


def test_a_killed_server_loses_nothing_that_it_accepted(tmp_path: Path) -> None:
    """SIGKILL under load, with an append-only file: every accepted job is there, each only once.

    Producers are told within a second, and go on by themselves when the server is back. Every write
    is synced here: with `everysec` a server whose disk is slow answers before it has written.
    """
    with (
        redis_server(tmp_path, "--appendfsync", "always") as server,
        closing(Producer(server)) as producer,
    ):
        for _ in range(RESTARTS):
            producer.wait_accepted(JOBS_BETWEEN, SOON_S)
            server.kill()
            producer.wait_failed()
            server.start()
            producer.wait_accepted(1, BACK_S)
        producer.close()
        with closing(RedisBroker.open(server.url)) as broker:
            statuses = [broker.peek([job_id])[0] for job_id in producer.accepted]
            assert None not in statuses, statuses.count(None)
            assert len(set(producer.accepted)) == len(producer.accepted)
            # The last one may have been given up when the test ended.
            assert 0 <= broker.counts()[0].queued - len(producer.accepted) <= 1
    kinds = {kind for kind, _ in producer.errors}
    assert kinds <= {Unavailable, OutcomeUnknown}
    slowest = max(seconds for _, seconds in producer.errors)
    assert slowest < KNOWN_S


def test_reconnecting_has_no_limit(actor: PortActor, redis: RedisServer) -> None:
    """However often its connection is cut, the next call opens another one."""
    with closing(redis.client()) as client:
        for _ in range(150):
            client.client_kill_filter(_type="normal", skipme=True)
            assert actor.broker.counts()


def test_a_listener_counts_the_connections_that_it_lost(tmp_path: Path) -> None:
    """By the time that it wakes its sleeper because it listens again."""
    with (
        redis_server(tmp_path) as server,
        closing(RedisBroker.open(server.url)) as broker,
        closing(broker.listen()) as listener,
    ):
        assert listener.breaks == 0
        server.kill()
        server.start()
        assert listener.wait(SOON_S)
        assert listener.breaks == 2, "one for the loss, one for the return"
