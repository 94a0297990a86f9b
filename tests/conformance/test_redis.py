"""The Redis broker keeps the contract of the port."""

from __future__ import annotations

import pytest

from penstock.testing.conformance import Case, cases
from tests.conformance.harnesses import RedisHarness
from tests.support.redis_server import RedisServer


@pytest.mark.parametrize("case", cases(RedisHarness.capabilities), ids=str)
def test_redis(case: Case, redis: RedisServer) -> None:
    """Each sentence of the contract holds for the Redis broker."""
    harness = RedisHarness(redis)
    try:
        case.run(harness)
    finally:
        harness.close()
