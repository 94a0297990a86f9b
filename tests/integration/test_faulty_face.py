"""The faulty broker fails the calls of its face for event loops as well, whoever made that face."""

from __future__ import annotations

import asyncio

import pytest

from penstock.broker.protocol import Broker
from penstock.broker.threaded import ThreadedBroker, loop_face
from penstock.connect import connect
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.testing import Fault, FaultyBroker
from penstock.testing.faulty import fail_nth
from tests.support.redis_server import RedisServer


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest, redis: RedisServer) -> Broker:
    """One with a thread behind its face, and one with a face of its own."""
    with redis.client() as client:
        client.flushall()
    return connect("memory://" if request.param == "memory" else redis.url)


@pytest.mark.parametrize(
    ("fault", "error", "is_written"),
    [(Fault.REFUSE, Unavailable, False), (Fault.LOSE_REPLY, OutcomeUnknown, True)],
)
def test_a_call_of_the_face_fails(
    broker: Broker, fault: Fault, error: type[Exception], *, is_written: bool
) -> None:
    """The n-th call fails as planned, before or after the write, and the others do not."""
    broker.register(["q"])
    faulty = FaultyBroker(broker, fail_nth(2, fault))

    async def pause() -> None:
        face = loop_face(faulty)
        await face.counts()
        with pytest.raises(error, match=r"call 2 \(pause\)"):
            await face.pause("q")
        (counts,) = await face.counts()
        assert counts.paused is is_written
        await face.describe()
        await face.close()

    asyncio.run(pause())
    assert [call.verb for call in faulty.calls] == ["counts", "pause", "counts"]


def test_the_face_is_the_brokers_own_where_it_has_one(redis: RedisServer) -> None:
    """What runs against a faulty Redis goes the way that it goes in production."""
    faulty = FaultyBroker(connect(redis.url), lambda _: Fault.NONE)
    face = loop_face(faulty)
    assert not isinstance(face, ThreadedBroker)
    assert face.rounds_at_once == loop_face(connect(redis.url)).rounds_at_once > 1
