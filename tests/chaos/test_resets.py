"""Connections are reset in the middle of what they carry: nothing is lost, nothing runs twice.

Requests vanish before they arrive and answers after they were given, at any verb of any process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock.core.lifecycle import State
from tests.support import history as h
from tests.support.brokers import Brokers, Kind
from tests.support.eventually import eventually
from tests.support.fault_proxy import FaultProxy
from tests.support.producer import Producer
from tests.support.side_by_side import on_each_broker
from tests.support.site import Site
from tests.support.summary import Publish, chaos_seed, summarise

#: Jobs that are accepted between two resets, at least.
JOBS_PER_RESET = 3


@pytest.mark.timeout(900)
def test_resets_lose_and_repeat_nothing(
    tmp_path: Path,
    make_site: Callable[..., Site],
    brokers: Brokers,
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """Each accepted job starts once and completes, on whatever connection it was cut."""
    resets = count(25, 1_000)

    def run(kind: Kind) -> None:
        url = urlsplit(brokers.url(kind, tmp_path))
        with FaultProxy(url.port or 0) as proxy:
            host = url.netloc.replace(str(url.port), str(proxy.port))
            site = make_site("resets", on=kind, url=url._replace(netloc=host).geturl())
            reset_connections(site, proxy, resets, publish)

    on_each_broker(run, kinds=("redis", "postgres"))


def reset_connections(site: Site, proxy: FaultProxy, resets: int, publish: Publish) -> None:
    """Reset connections of workers and of a producer that is beside them."""
    began = time.monotonic()
    draw = random.Random(chaos_seed())
    workers = [site.start_ready() for _ in range(2)]
    producer = Producer(site, JOBS_PER_RESET * resets)
    for number in range(1, resets + 1):
        wait_accepted(site, producer, JOBS_PER_RESET * number)
        time.sleep(draw.uniform(0.0, 0.01))
        site.fault("connection_reset", ())
        eventually(proxy.reset_one, within_s=30, what="a connection in use", state=site.report)
    producer.stop()
    assert not producer.failures, producer.failures
    site.wait_final([job.id for job in producer.jobs], within_s=60)
    events, dump = site.check(leftovers=site.drain(*workers))
    publish(summarise("connection resets", events, dump, time.monotonic() - began), events)
    felt = producer.refused + sum(one.log().count("does not answer") for one in workers)
    assert felt > 0, "nobody felt a reset"
    assert {dump.jobs[job.id].state for job in producer.jobs} == {State.COMPLETED}
    # In whichever attempt: what a claim brings after its lease, held up by resets, is never begun.
    starts = [start.job for start in h.of_type(h.Started, events)]
    assert sorted(starts) == sorted(job.id for job in producer.jobs)


def wait_accepted(site: Site, producer: Producer, jobs: int) -> None:
    """Return once so many jobs are accepted."""

    def look() -> bool:
        assert not producer.failures, producer.failures
        return len(producer.jobs) >= jobs

    eventually(look, within_s=60, what=f"{jobs} jobs to be accepted", state=site.report)
