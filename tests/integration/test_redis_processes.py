"""Several processes on one Redis server: no loss, no job twice, forks, and wake-ups that return."""

from __future__ import annotations

import resource
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from penstock.broker.protocol import Listener
from penstock.broker.requests import JobFilter
from penstock.brokers.redis import RedisBroker
from tests.support.eventually import eventually
from tests.support.port_actor import PortActor
from tests.support.redis_programs import run
from tests.support.redis_server import RedisServer

#: Jobs of the hammering test, over all processes.
JOBS = 1_000
#: Seconds for a wake-up that should come.
SOON_S = 30.0


@pytest.fixture
def actor(redis: RedisServer) -> Iterator[PortActor]:
    """An actor on a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    with closing(RedisBroker.open(redis.url)) as broker:
        broker.register(["q"])
        yield PortActor(broker)


def job_ids(actor: PortActor) -> set[str]:
    """Return the ids of all jobs."""
    found: set[str] = set()
    before = None
    while page := actor.broker.list_jobs(JobFilter(), limit=500, before=before).jobs:
        found |= {job.id for job in page}
        before = page[-1].id
    return found


def test_processes_claim_disjoint_jobs(actor: PortActor, redis: RedisServer) -> None:
    """Of the jobs of two processes each is completed exactly once by one of two others."""
    with ThreadPoolExecutor(4) as pool:
        producers = [pool.submit(run, "enqueue", redis.url, JOBS // 2) for _ in range(2)]
        workers = [pool.submit(run, "work", redis.url, JOBS) for _ in range(2)]
    accepted = [job_id for one in producers for job_id in one.result()]
    settled = [line.split() for one in workers for line in one.result()]
    assert len(accepted) == JOBS
    assert Counter(job_id for job_id, _ in settled) == Counter(accepted)
    assert {answer for _, answer in settled} == {"applied"}
    assert job_ids(actor) == set(accepted)


def test_parent_and_child_work_on_after_a_fork(actor: PortActor, redis: RedisServer) -> None:
    """Each has connections of its own: no answer goes to the other, and a close is one's own."""
    printed = run("fork", redis.url)
    assert printed.count("own connection") == 10
    ids = [job_id for line in printed if "connection" not in line for job_id in line.split()]
    assert len(ids) == len(set(ids)) == 1 + 4 * 200 + 10 * 3 + 1
    assert job_ids(actor) == set(ids)


def test_a_listener_stays_with_its_process(actor: PortActor, redis: RedisServer) -> None:
    """A forked child cannot drain it, and its close does not take the address away."""
    assert run("listener", redis.url) == ["woken"]
    assert actor.broker.counts()[0].queued == 1


def sleep(actor: PortActor, listener: Listener) -> None:
    """Leave the listener's token at the queue."""
    request = actor.claim_request(actor.lease(), limit=1, wake_token=listener.token)
    assert not actor.broker.claim(request).jobs


def kill_listeners(server: RedisServer) -> None:
    """Break the connection of every listener."""
    with closing(server.client()) as client:
        assert client.client_kill_filter(_type="pubsub") >= 1


def test_a_listener_outlives_its_connection(actor: PortActor, redis: RedisServer) -> None:
    """It wakes once when it is back, for what it missed, and then for each job as before.

    Its descriptor stays the same, so that an event loop that watches it is told.
    """
    with closing(actor.broker.listen()) as listener:
        descriptor = listener.fileno()
        for _ in range(3):
            sleep(actor, listener)
            kill_listeners(redis)
            assert listener.wait(SOON_S), "whatever it missed"
            assert not listener.drain()
            sleep(actor, listener)
            (job_id,) = actor.put()
            assert listener.wait(SOON_S), "as before"
            assert listener.fileno() == descriptor
            actor.broker.cancel([job_id])


def test_a_listener_comes_back_among_messages(actor: PortActor, redis: RedisServer) -> None:
    """A wake-up may follow the answer to the subscription at once, in one packet with it."""
    stop = threading.Event()

    def publish(channel: str) -> None:
        with closing(redis.client()) as client:
            while not stop.is_set():
                with client.pipeline(transaction=False) as many:
                    for _ in range(200):
                        many.publish(channel, "")
                    many.execute()

    with closing(actor.broker.listen()) as listener:
        publisher = threading.Thread(target=publish, args=(f"penstock:wake:{listener.token}",))
        publisher.start()
        try:
            for _ in range(10):
                kill_listeners(redis)
                eventually(
                    lambda: (listener.drain(), has_listener(redis))[1],
                    within_s=SOON_S,
                    what="the listener to come back",
                )
        finally:
            stop.set()
            publisher.join()


def has_listener(server: RedisServer) -> bool:
    """Return whether somebody listens to a channel."""
    with closing(server.client()) as client:
        return bool(client.pubsub_channels())


def test_a_job_that_comes_while_nobody_hears_is_found(actor: PortActor, redis: RedisServer) -> None:
    """A job enqueued between the loss of a connection and its return still wakes the sleeper."""
    with closing(actor.broker.listen()) as listener:
        sleep(actor, listener)
        kill_listeners(redis)
        (job_id,) = actor.put()
        assert listener.wait(SOON_S)
        answer = actor.broker.claim(actor.claim_request(actor.lease(), limit=1))
        assert [job.id for job in answer.jobs] == [job_id]


def test_a_drain_never_waits_for_a_server_that_is_gone(
    actor: PortActor, redis: RedisServer
) -> None:
    """While there is no server an event loop finds nothing to read; after it a wake-up comes."""
    with closing(actor.broker.listen()) as listener:
        redis.kill()
        assert not listener.wait(0.5), "no wake-up, and no spinning"
        redis.start()
        assert listener.wait(SOON_S)
        sleep(actor, listener)
        actor.put()
        assert listener.wait(SOON_S)


def test_a_closed_listener_stays_closed(actor: PortActor, redis: RedisServer) -> None:
    """Closed while it tries to come back, it is gone for good: nobody subscribes for it."""
    listener = actor.broker.listen()
    kill_listeners(redis)
    listener.drain()
    listener.close()
    listener.close()
    assert listener.fileno() == -1
    assert not listener.wait(0)
    with closing(redis.client()) as client:
        eventually(
            lambda: client.pubsub_channels() == [], within_s=SOON_S, what="no channel to be left"
        )


def test_a_process_with_many_descriptors_enqueues(actor: PortActor, redis: RedisServer) -> None:
    """A connection whose descriptor is over 1,023, which select(2) does not know, is used again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
        for _ in range(1_100):
            held.enter_context(Path("/dev/null").open())
        broker = held.enter_context(closing(RedisBroker.open(redis.url)))
        broker.register(["q"])
        for _ in range(3):
            assert PortActor(broker).put()
    assert actor.broker.counts()[0].queued == 3
