"""The connection of an event loop when Redis is dead, deaf or mute: what each caller is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker
from penstock.brokers.redis import RedisBroker
from penstock.brokers.redis.loop_broker import RedisLoopBroker
from penstock.core import settlement as s
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from penstock.errors import BrokerError, OutcomeUnknown, Unavailable
from tests.support.fault_proxy import FaultProxy
from tests.support.port_actor import QUEUE, PortActor, completions
from tests.support.redis_server import RedisServer, redis_server
from tests.support.service_bench import until

T = TypeVar("T")

#: Seconds within which a caller must know, and as many for a machine that is busy with other tests.
KNOWN_S = 1.0 + 1.0
#: Seconds after a restart until all works again, and as many for such a machine.
BACK_S = 2.0 + 2.0
#: Seconds for what should happen.
SOON_S = 30.0
#: Calls in flight at once.
CALLS = 10
#: Bytes of a large payload, and of how many jobs; together more than all buffers on the way hold.
LARGE_BYTES = 100_000
LARGE_JOBS = 400
#: Bytes of a payload that comes in one piece.
ONE_PIECE_BYTES = 30_000


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


def in_loop(
    url: str, use: Callable[[AsyncBroker], Coroutine[Any, Any, T]], *, answer_timeout_s: float = 0.5
) -> T:
    """Return what `use` comes to in an event loop, with a face that has made its connection."""

    async def main() -> T:
        face = broker.loop_face()
        assert isinstance(face, RedisLoopBroker)
        await face.register([QUEUE])
        return await asyncio.wait_for(use(face), SOON_S)

    with closing(RedisBroker.open(url, answer_timeout_s=answer_timeout_s)) as broker:
        return asyncio.run(main())


async def told(call: Awaitable[object]) -> type[BrokerError]:
    """Return the error of a call that fails, and is told soon."""
    began = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        await call
    seconds = time.monotonic() - began
    assert seconds < KNOWN_S
    return type(caught.value)


def large(request: r.EnqueueRequest, size: int = LARGE_BYTES) -> r.EnqueueRequest:
    """Return the request of a job with a large payload."""
    payload = msgspec.Raw(b'{"text":"%s"}' % (b"x" * size))
    return msgspec.structs.replace(
        request, spec=msgspec.structs.replace(request.spec, payload=payload)
    )


def accepted(answers: Sequence[r.Accepted | r.Refused]) -> list[JobId]:
    """Return the ids of jobs that were accepted."""
    return [answer.id for answer in answers if isinstance(answer, r.Accepted)]


def ready_claim(actor: PortActor, jobs: int) -> r.ClaimRequest:
    """Return a claim whose script the server knows, so that one call is one question."""
    request = actor.claim_request(actor.lease(), limit=jobs)
    assert not actor.broker.claim(msgspec.structs.replace(request, offers=())).jobs
    return request


async def in_flight(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Start calls, which are sent in this turn of the loop."""
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


def test_a_black_hole_is_known_within_a_second(hole: FaultProxy, actor: PortActor) -> None:
    """A write that was sent is unknown, a read or what was not sent is refused, and all soon.

    When the way is free again the same request makes one job, as if nothing had been.
    """
    request = actor.request()

    async def use(face: AsyncBroker) -> None:
        hole.swallow(calls=True)
        tasks = await in_flight(face.enqueue([request]), face.counts())
        assert [await told(task) for task in tasks] == [OutcomeUnknown, Unavailable]
        for call in (face.enqueue([request]), face.counts(), face.listen()):
            assert await told(call) is Unavailable
        hole.mend()
        (answer,) = await face.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert not answer.duplicate

    in_loop(url_of(hole), use)


def test_a_lost_reply_makes_no_second_job(hole: FaultProxy, actor: PortActor) -> None:
    """An enqueue whose answer was lost is made again, and is the same job; so is its settlement."""
    request = actor.request()

    async def use(face: AsyncBroker) -> None:
        hole.swallow(replies=True)
        assert await told(face.enqueue([request])) is OutcomeUnknown
        await until(lambda: actor.broker.get(request.id))
        hole.mend()
        (answer,) = await face.enqueue([request])
        assert isinstance(answer, r.Accepted)
        assert answer.duplicate
        # Once without a fault, so that the server knows the script.
        actor.put()
        assert await face.settle(completions(actor.take(1))) == [s.Applied.APPLIED]
        (job,) = actor.take(1)
        hole.swallow(replies=True)
        assert await told(face.settle(completions([job]))) is OutcomeUnknown
        await until(lambda: actor.broker.counts()[0].completed == 2)
        hole.mend()
        assert await face.settle(completions([job], b"2")) == [s.Applied.STALE]

    in_loop(url_of(hole), use)
    assert actor.broker.counts()[0].completed == 2


def test_a_repeated_claim_gives_the_same_jobs(hole: FaultProxy, actor: PortActor) -> None:
    """A claim whose answer was lost is made again under its fence, and takes nothing more."""
    ids = actor.put(4)
    request = actor.claim_request(actor.lease(), limit=2)

    async def use(face: AsyncBroker) -> r.ClaimAnswer:
        hole.swallow(replies=True)
        assert await told(face.claim(request)) is OutcomeUnknown
        await until(lambda: actor.broker.counts()[0].running)
        hole.mend()
        return await face.claim(request)

    assert [job.id for job in in_loop(url_of(hole), use).jobs] == ids[:2]
    assert actor.broker.counts()[0].running == 2


def test_a_killed_server_tells_each_of_many(tmp_path: Path) -> None:
    """Calls in flight on the one connection are told apart: writes are unknown, reads refused.

    Later calls find the way back by themselves, and what was asked for again is there once.
    """
    with (
        redis_server(tmp_path, "--appendfsync", "always") as server,
        closing(RedisBroker.open(server.url)) as broker,
    ):
        requests = [PortActor(broker).request() for _ in range(CALLS)]

        async def use(face: AsyncBroker) -> None:
            server.stop_still()
            tasks = await in_flight(
                *(face.enqueue([one]) for one in requests), *(face.counts() for _ in range(CALLS))
            )
            server.kill()
            kinds = [await told(task) for task in tasks]
            assert kinds == [OutcomeUnknown] * CALLS + [Unavailable] * CALLS
            for call in (face.enqueue(requests[:1]), face.counts()):
                assert await told(call) is Unavailable
            await asyncio.to_thread(server.start)
            again = asyncio.gather(*(face.enqueue([one]) for one in requests))
            answers = await asyncio.wait_for(again, BACK_S)
            assert [accepted(answer) for answer in answers] == [[one.id] for one in requests]
            (counted,) = await face.counts()
            assert counted.queued == CALLS

        in_loop(server.url, use)


def test_flushed_scripts_are_loaded_again(actor: PortActor, redis: RedisServer) -> None:
    """Calls in flight at once on a server that forgot the scripts each give them anew."""
    requests = [actor.request() for _ in range(2 * CALLS)]

    async def enqueue(face: AsyncBroker, some: Sequence[r.EnqueueRequest]) -> list[JobId]:
        answers = await asyncio.gather(*(face.enqueue([one]) for one in some))
        return [job_id for answer in answers for job_id in accepted(answer)]

    async def use(face: AsyncBroker) -> list[JobId]:
        first = await enqueue(face, requests[:CALLS])
        with closing(redis.client()) as client:
            client.script_flush()
        return first + await enqueue(face, requests[CALLS:])

    assert in_loop(redis.url, use) == [one.id for one in requests]
    redis.kill()
    redis.start()
    late = [actor.request() for _ in range(CALLS)]
    assert in_loop(redis.url, lambda face: enqueue(face, late)) == [one.id for one in late]


def test_a_cancelled_caller_leaves_the_others_their_answers(
    actor: PortActor, redis: RedisServer
) -> None:
    """Each of those who go on waiting gets the answer to its own question."""
    ids = actor.put(3 * CALLS)

    async def use(face: AsyncBroker) -> None:
        tasks = await in_flight(*(face.get(job_id) for job_id in ids))
        for task in tasks[::3]:
            task.cancel()
        records = await asyncio.gather(*tasks, return_exceptions=True)
        for place, record in enumerate(records):
            if place % 3 == 0:
                assert isinstance(record, asyncio.CancelledError)
            else:
                assert isinstance(record, JobRecord)
                assert record.id == ids[place]

    in_loop(redis.url, use)


def test_a_caller_cancelled_while_it_connects_leaves_the_others_their_line(
    hole: FaultProxy, actor: PortActor
) -> None:
    """Those who wait for the same connection get it; one that fails later is told to nobody."""
    (job_id,) = actor.put()

    async def use(face: AsyncBroker) -> None:
        assert isinstance(face, RedisLoopBroker)
        face.hang_up()
        first, second = await in_flight(face.get(job_id), face.get(job_id))
        first.cancel()
        record = await second
        assert record is not None
        assert first.cancelled()
        face.hang_up()
        hole.swallow(calls=True)
        (third,) = await in_flight(face.get(job_id))
        third.cancel()
        # The next one waits for the same attempt.
        assert await told(face.get(job_id)) is Unavailable

    in_loop(url_of(hole), use)


def test_large_answers_come_in_parts(actor: PortActor, redis: RedisServer) -> None:
    """A claim of megabytes, small questions before and behind it: all are answered."""
    jobs = 50
    actor.broker.enqueue([large(actor.request()) for _ in range(jobs)])
    request = ready_claim(actor, jobs)

    async def use(face: AsyncBroker) -> None:
        before, claim, behind = await in_flight(face.counts(), face.claim(request), face.counts())
        assert (await before)[0].queued == jobs
        answer = await claim
        assert {len(bytes(job.spec.payload)) for job in answer.jobs} == {LARGE_BYTES + 11}
        assert len(answer.jobs) == jobs
        assert (await behind)[0].running == jobs

    in_loop(redis.url, use, answer_timeout_s=SOON_S)


def test_a_loop_that_was_blocked_reads_what_has_come(actor: PortActor, redis: RedisServer) -> None:
    """Longer than an answer may take, a coroutine blocks the loop: the answer was not late."""
    jobs = 20
    actor.broker.enqueue([large(actor.request()) for _ in range(jobs)])
    request = ready_claim(actor, jobs)

    async def use(face: AsyncBroker) -> r.ClaimAnswer:
        (claim,) = await in_flight(face.claim(request))
        # Blocked as by a coroutine that computes.
        time.sleep(0.8)  # noqa: ASYNC251 - see above
        answer: r.ClaimAnswer = await claim
        return answer

    assert len(in_loop(redis.url, use).jobs) == jobs


def test_large_requests_wait_for_a_server_that_stands_still(
    actor: PortActor, redis: RedisServer
) -> None:
    """What the buffers do not hold is sent on when the server reads again; nothing is mixed up."""
    requests = [large(actor.request()) for _ in range(LARGE_JOBS)]
    small = [actor.request() for _ in range(CALLS)]

    async def use(face: AsyncBroker) -> None:
        redis.stop_still()
        try:
            enqueue, *others = await in_flight(
                face.enqueue(requests), *(face.enqueue([one]) for one in small)
            )
            await asyncio.sleep(0.05)
            assert not enqueue.done()
        finally:
            redis.go_on()
        assert accepted(await enqueue) == [one.id for one in requests]
        assert [accepted(await other) for other in others] == [[one.id] for one in small]
        (counted,) = await face.counts()
        assert counted.queued == LARGE_JOBS + CALLS

    in_loop(redis.url, use, answer_timeout_s=SOON_S)


def test_what_was_not_sent_whole_is_refused(actor: PortActor, redis: RedisServer) -> None:
    """On a server that stands still a small write is unknown; one that did not fit was not sent."""
    requests = [large(actor.request()) for _ in range(LARGE_JOBS)]

    async def use(face: AsyncBroker) -> None:
        redis.stop_still()
        try:
            tasks = await in_flight(
                face.enqueue([actor.request()]), face.enqueue(requests), face.enqueue(requests[:1])
            )
            kinds = [await told(task) for task in tasks]
            assert kinds == [OutcomeUnknown, Unavailable, Unavailable]
        finally:
            redis.go_on()
        await until(lambda: actor.broker.counts()[0].queued == 1)

    # `told` must not wait for a registration that the server does not answer.
    in_loop(redis.url, use)


def test_a_claim_waits_longer_for_a_server_that_is_late(hole: FaultProxy, actor: PortActor) -> None:
    """Jobs whose answer takes longer than others may are handed out by a later try of the claim."""
    (put,) = actor.broker.enqueue([large(actor.request(), ONE_PIECE_BYTES)])
    assert isinstance(put, r.Accepted)
    request = actor.claim_request(actor.lease(), limit=1)
    # What is no answer to a claim comes at once, as from a server that has only that to do.
    hole.delay(1_500, bytes_min=ONE_PIECE_BYTES)

    async def claim(face: AsyncBroker) -> tuple[int, r.ClaimAnswer]:
        for number in range(1, 10):
            with suppress(OutcomeUnknown, Unavailable):
                return number, await face.claim(request)
        raise AssertionError("no try was patient enough")

    number, answer = in_loop(url_of(hole), claim)
    assert [job.id for job in answer.jobs] == [put.id]
    # 0.5 s, 1 s, 2 s; one more for what a busy machine may add.
    assert number in (3, 4), number
