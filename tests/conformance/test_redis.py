"""The Redis broker keeps the contract of the port, called from threads and from an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from penstock.broker.protocol import Broker
from penstock.broker.threaded import loop_face
from penstock.brokers import redis as package
from penstock.brokers.redis.loop_broker import RedisLoopBroker
from penstock.testing.conformance import Case, cases
from tests.conformance.harnesses import RedisHarness
from tests.conformance.mutant import SMALL_PAGES, imported_copy
from tests.conformance.wrapped import WrappedHarness
from tests.support.loop_thread import LoopThread, in_loop, loop_thread
from tests.support.redis_server import RedisServer

PACKAGE: Final = Path(str(package.__file__)).parent
CASES: Final = cases(RedisHarness.capabilities)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_redis(case: Case, redis: RedisServer) -> None:
    """Each sentence of the contract holds for the Redis broker."""
    harness = RedisHarness(redis)
    try:
        case.run(harness)
    finally:
        harness.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    """One event loop for all cases, each handle of which has a connection of its own in it."""
    with loop_thread() as thread:
        yield thread


@pytest.mark.parametrize("case", CASES, ids=str)
def test_redis_in_a_loop(case: Case, redis: RedisServer, loop: LoopThread) -> None:
    """Each sentence holds for the face that an event loop has, over its one connection."""

    def wrap(broker: Broker) -> Broker:
        face = loop_face(broker)
        assert isinstance(face, RedisLoopBroker)
        return in_loop(face, loop)

    harness = RedisHarness(redis)
    try:
        case.run(WrappedHarness(harness, wrap))
    finally:
        harness.close()


@pytest.fixture(scope="module")
def small_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The adapter with pages that are full with two entries."""
    with imported_copy(PACKAGE, tmp_path_factory.mktemp("small"), SMALL_PAGES) as module:
        yield module


@pytest.mark.parametrize("case", CASES, ids=str)
def test_redis_in_small_pages(case: Case, redis: RedisServer, small_pages: ModuleType) -> None:
    """Each sentence holds where a few jobs fill several pages, as thousands do else."""
    harness = RedisHarness(redis, small_pages)
    try:
        case.run(harness)
    finally:
        harness.close()
