"""F10: a worker is cut off from its broker for three leases while its jobs run.

Jobs that go on are run again elsewhere, and what their first runs say is refused. Exclusive ones
are dead before their lease can have run out: no two runs of one overlap. The same over real links
of network namespaces: tests/chaos/network_namespaces.py (`make netns`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from urllib.parse import urlsplit

import pytest

from tests.chaos.partition import GUARDS, ProxyLine, jobs_are_killed, jobs_go_on
from tests.support.brokers import Kind
from tests.support.fault_proxy import FaultProxy
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish

SERVERS: tuple[Kind, ...] = ("redis", "postgres")
#: What `make test` runs.
IN_TEST = {(jobs_go_on, "postgres"), (jobs_are_killed, "redis")}


@pytest.mark.timeout(600)
def test_a_partition_repeats_jobs_and_never_overlaps_exclusive_ones(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """F10, all at once: nothing is lost, each job is run twice, and none is charged.

    One way on each broker; in the proof both on both.
    """
    with ExitStack() as ends:
        scenarios: dict[str, Callable[[], None]] = {}
        for way, broker in product((jobs_go_on, jobs_are_killed), SERVERS):
            if count(0, 1) == 0 and (way, broker) not in IN_TEST:
                continue
            site = make_site(f"f10-{way.__name__}", on=broker)
            port = urlsplit(site.url).port
            assert port is not None
            line = ProxyLine(ends.enter_context(FaultProxy(port)))
            jobs = GUARDS if way is jobs_are_killed else count(8, 40)
            scenarios[f"{way.__name__} {broker}"] = partial(way, site, line, jobs, publish)
        with SideBySide(scenarios) as running:
            for name in scenarios:
                running.wait(name)
