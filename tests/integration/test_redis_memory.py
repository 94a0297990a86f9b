"""Redis without memory: enqueue is refused for now, and everything that ends jobs goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.brokers.redis import RedisBroker
from penstock.core import settlement as s
from penstock.core.job import NO_CHARGES, Claimed, Reason
from penstock.core.lifecycle import State
from penstock.errors import QueueFull
from tests.support.port_actor import QUEUE, PortActor, completions
from tests.support.redis_server import RedisServer, redis_server


def fill(server: RedisServer, spare: int) -> None:
    """Set the limit of memory so that `spare` bytes less than is used would be allowed."""
    with closing(server.client()) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] - spare)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[RedisServer, PortActor]]:
    """A server of its own, to be filled."""
    with (
        redis_server(tmp_path) as server,
        closing(RedisBroker.open(server.url)) as broker,
    ):
        yield server, PortActor(broker)


def one_of_each(taken: list[Claimed]) -> list[s.Settlement]:
    """Return a settlement of each kind."""
    one, two, three, four, five, six = ((job.id, job.fence) for job in taken)
    why = Reason.DISCARDED
    return [
        s.Complete(id=one[0], fence=one[1], outcome="succeeded", result=b"1"),
        s.Retry(id=two[0], fence=two[1], outcome="failed", delay_ms=60_000, charges=NO_CHARGES),
        s.Bury(id=three[0], fence=three[1], outcome="failed", reason=why),
        s.Snooze(id=four[0], fence=four[1], outcome="snooze_asked", delay_ms=60_000),
        s.Release(id=five[0], fence=five[1], outcome="interrupted"),
        s.Cancel(id=six[0], fence=six[1], outcome="discarded", reason=why),
    ]


def test_a_full_server_is_drained(full: tuple[RedisServer, PortActor]) -> None:
    """Enqueue is refused for now, everything that ends jobs goes on, and then there is room."""
    server, actor = full
    for _ in range(10):
        actor.put(400)
    lease = actor.lease()
    fill(server, 100_000)
    with pytest.raises(QueueFull, match=r"memory is full .*, nothing was written") as caught:
        actor.put()
    assert caught.value.retry_after_s > 0
    assert actor.broker.counts()[0].queued == 4_000
    taken = list(actor.broker.claim(actor.claim_request(lease, limit=6)).jobs)
    assert actor.broker.extend([lease], ttl_ms=60_000).lost == ()
    applied = actor.broker.settle(one_of_each(taken))
    assert set(applied) == {s.Applied.APPLIED}
    with closing(RedisBroker.open(server.url)) as late:
        # A worker that starts on a full server, of a queue that is new to it, can help too.
        worker = PortActor(late)
        assert late.register([QUEUE, "new"])
        claimed = worker.lease()
        while jobs := late.claim(worker.claim_request(claimed, limit=200)).jobs:
            late.settle(completions(jobs))
    everything = [r.Retention(state=State.COMPLETED, age_ms=0, count_max=0)]
    while actor.broker.prune([QUEUE], everything, limit=500):
        pass
    assert actor.put()


def test_a_large_result_is_dropped_when_memory_is_full(
    full: tuple[RedisServer, PortActor],
) -> None:
    """The job is completed all the same, and worker and reader are told; a small one is kept."""
    server, actor = full
    actor.put(4)
    large = b'"' + b"x" * 20_000 + b'"'
    before, *jobs = actor.take(4)
    assert actor.broker.settle(completions([before], large)) == [s.Applied.APPLIED]
    fill(server, 1_000)
    answers = actor.broker.settle(
        [*completions(jobs[:1], large), *completions(jobs[1:2]), *completions(jobs[2:], large)]
    )
    dropped = s.Applied.RESULT_DROPPED
    assert answers == [dropped, s.Applied.APPLIED, dropped]
    records = [actor.broker.get(job.id) for job in (before, *jobs)]
    kept = [msgspec.Raw(large), None, msgspec.Raw(b"1"), None]
    assert [record and record.state for record in records] == [State.COMPLETED] * 4
    assert [record and record.result for record in records] == kept
    assert [record and record.result_dropped for record in records] == [False, True, False, True]
