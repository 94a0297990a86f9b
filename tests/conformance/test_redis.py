"""The Redis broker keeps the contract of the port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.testing.conformance import Case, cases
from tests.conformance.harnesses import RedisHarness
from tests.support.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all cases; each begins with no key."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.mark.parametrize("case", cases(RedisHarness.capabilities), ids=str)
def test_redis(case: Case, server: RedisServer) -> None:
    """Each sentence of the contract holds for the Redis broker."""
    harness = RedisHarness(server)
    try:
        case.run(harness)
    finally:
        harness.close()
