"""F10 over real links: a worker in a network namespace of its own, whose link goes down and up.

`make netns` runs this, and `make proof AREA=faults` where root may make namespaces. It is no part
of `make test`, which must run without root: its name keeps it from being collected there, so that
nothing is skipped. What `make test` runs instead is the same over a proxy: test_partition.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from tests.chaos.partition import GUARDS, jobs_are_killed, jobs_go_on
from tests.support.network_namespace import End, NamespaceLine, is_of_our_own
from tests.support.redis_server import redis_server
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish

ENDS: tuple[End, ...] = ("near", "far")


@pytest.mark.timeout(300)
def test_a_link_that_goes_down_loses_nothing_and_overlaps_nothing(
    tmp_path: Path, count: Callable[[int, int], int], publish: Publish
) -> None:
    """F10 by either end of the link: jobs are run twice, the second wins; exclusive ones apart."""
    assert is_of_our_own(), "the tests change no network of yours: start this by `make netns`"
    ways = list(product((jobs_go_on, jobs_are_killed), ENDS))
    with ExitStack() as ends:
        lines = [
            ends.enter_context(NamespaceLine(number, end)) for number, (_, end) in enumerate(ways)
        ]
        addresses = ("127.0.0.1", *(line.address for line in lines))
        settings = ("--bind", *addresses, "--protected-mode", "no")
        server = ends.enter_context(redis_server(tmp_path, *settings))
        scenarios: dict[str, Callable[[], None]] = {}
        for number, ((way, _), line) in enumerate(zip(ways, lines, strict=True)):
            name = f"{way.__name__} {line.title}"
            url = server.url.removesuffix("0") + str(number)
            # Sites end before their links do.
            site = ends.enter_context(Site(tmp_path / name.replace(" ", "-"), url=url))
            jobs = GUARDS if way is jobs_are_killed else count(8, 40)
            scenarios[name] = partial(way, site, line, jobs, publish)
        with SideBySide(scenarios) as running:
            for name in scenarios:
                running.wait(name)
