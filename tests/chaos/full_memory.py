"""The memory of a Redis server is full while jobs run: they end, and then there is room."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown, QueueFull
from penstock.task import Call
from tests.chaos import tasks
from tests.chaos.filler import Refusal, fill
from tests.support import history as h
from tests.support.eventually import eventually
from tests.support.losses import run_again
from tests.support.redis_server import RedisServer, redis_in_memory
from tests.support.site import Site
from tests.support.summary import Publish, summarise

#: Bytes that are free as the filling begins.
SPARE_BYTES = 2 * 2**20


def call_of(number: int, go: str) -> Call[Any]:
    """Return a job that completes, that completes in its second run, or that ends dead."""
    match number % 3:
        case 0:
            return tasks.wait_for.call(go)
        case 1:
            return tasks.wait_for.call(go, fails=1)
        case _:
            return tasks.wait_for.using(retries=0).call(go, fails=1)


def limit_memory(server: RedisServer) -> None:
    """Let the server take little more than it does now."""
    with closing(server.client()) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + SPARE_BYTES)


def is_refused(site: Site) -> bool:
    """Return whether a producer is refused now; else its job is in the history."""
    call = tasks.measure_in_loop.using(key=f"room {time.monotonic_ns()}").call("x" * 50_000)
    while True:
        try:
            site.enqueue(call)
        except QueueFull:
            return True
        except OutcomeUnknown:
            # A server that is busy freeing memory is only slow.
            continue
        return False


def full_memory(folder: Path, publish: Publish, flying: int) -> Refusal:
    """Fill the memory while `flying` jobs run, see all of it end, and then room for more (GOAL15).

    Returns:
        How the producer was refused.
    """
    began = time.monotonic()
    with (
        redis_in_memory() as server,
        Site(folder / "site", url=server.url, coroutines=str(flying)) as site,
    ):
        worker = site.start_ready()
        go = folder / "go"
        jobs = site.enqueue(*(call_of(number, str(go)) for number in range(flying)))
        eventually(
            lambda: len(h.of_type(h.Started, site.events())) == flying,
            within_s=60,
            what=f"{flying} jobs in flight",
            state=site.report,
        )
        limit_memory(server)
        site.fault("memory_full", ())
        refusal = fill(server.url, site.history, None)
        assert is_refused(site)
        (counts,) = site.broker.counts()
        assert (counts.running, counts.queued) == (flying, refusal.accepted)
        go.touch()
        accepted = [event.job for event in h.of_type(h.Accepted, site.events())]
        site.wait_final(accepted, within_s=120)
        assert is_refused(site), "it drained because it was not full"
        events, dump = site.check(leftovers=site.drain(worker))
        row = summarise("F16 full memory", events, dump, time.monotonic() - began)
        row.repeated = run_again(events) - len(range(1, flying, 3))
        publish(row, events)
        assert row.repeated == 0, "beyond those that failed once"
        ends = Counter(dump.jobs[job.id].state for job in jobs)
        dead = len(range(2, flying, 3))
        assert ends == {State.COMPLETED: flying - dead, State.DEAD: dead}

        site.start(retention_completed_age="1s", retention_dead_age="1s")
        eventually(lambda: not is_refused(site), within_s=60, what="room", state=site.report)
        return refusal
