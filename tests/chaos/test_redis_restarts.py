"""F05: redis-server is killed and started again under load, with an append-only file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.lifecycle import State
from tests.support import history as h
from tests.support.comeback import Comebacks
from tests.support.losses import run_again
from tests.support.producer import Producer
from tests.support.redis_server import redis_server
from tests.support.site import Site
from tests.support.summary import Publish, summarise

#: Seconds from one kill to the next, in tests and in the proof, as the plan has it.
EVERY_S, EVERY_S_IN_PROOF = 1, 3
#: Seconds from the server's first answer until each worker has started a job (GOAL07).
BACK_S = 2.0
WORKERS = 2
#: Coroutines of a worker: too few for all of the traffic, so that none of them can take it alone.
COROUTINES = 4


@pytest.mark.timeout(900)
def test_crashes_of_redis_lose_nothing(
    tmp_path: Path,
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """What is accepted completes, once, and every worker is back 2 s after the first PONG."""
    with redis_server(tmp_path, "--appendfsync", "everysec") as server:
        site = make_site("f05", url=server.url, coroutines=str(COROUTINES))
        began = time.monotonic()
        workers = [site.start() for _ in range(WORKERS)]
        for worker in workers:
            site.wait_ready(worker)
        producer = Producer(site, count(300, 4_000), every_s=0.01, seconds=0.05)
        comebacks = Comebacks(site, workers)
        back_s: list[float] = []
        for _ in range(count(3, 100)):
            due = time.monotonic() + count(EVERY_S, EVERY_S_IN_PROOF)
            comebacks.since(h.boot_ns(), "before the fault")
            site.fault("outage", ())
            server.kill()
            server.start()
            back_s += comebacks.since(h.boot_ns(), "after the restart")
            time.sleep(max(0.0, due - time.monotonic()))
        producer.stop()
        site.wait_final([job.id for job in producer.jobs], within_s=60)
        events, dump = site.check(leftovers=site.drain(*workers))
        row = summarise("F05 Redis restarts", events, dump, time.monotonic() - began)
        back_ms = sorted(1000 * one for one in back_s)
        row.repeated, row.recovery_ms = run_again(events), back_ms
        publish(row, events)
        assert {dump.jobs[job.id].state for job in producer.jobs} == {State.COMPLETED}
        assert max(back_s) <= BACK_S, back_ms
        assert producer.refused > 0, "no fault was felt by the producer"
        assert run_again(events) == 0
